// SPDX-License-Identifier: MIT

// The arena: where each tensor of activations lies, and from which statement to which.
(function arena() {
  const stored = data.tensors.filter((t) => !t.slice_of && t.first > 0);
  if (!stored.length) return;
  const layers = [...new Set(steps.map((s) => s.layer).filter((l) => l >= 0))];
  const select = h('select', {id: 'arena-part'},
      layers.map((l) => h('option', {value: l}, 'layer ' + l)), h('option', {value: 'all'}, 'the whole pass'));
  const chart = h('div'), says = h('p', {class: 'soft', 'aria-live': 'polite'});
  const idle = 'Choose a tensor in the drawing, or see the table below.';
  section('arena', 'Activations in the arena',
      h('p', {}, `All tensors of a pass share ${bytesText(data.arena)}. Across: the statements, in order. ` +
        'Up: the place in the arena, with room for a whole chunk. A tensor is drawn from the statement ' +
        'that writes it to the last that reads it; where one lies below another, it has reused its place.'),
      h('div', {class: 'controls'}, h('label', {for: 'arena-part'}, 'Show', select)),
      chart, legend([['held', 'f32'], ['arena', 'q8: quantised, for matrices to read']]), says,
      h('details', {}, h('summary', {}, 'All tensors as a table'),
        h('div', {class: 'scroll'}, h('table', {},
          h('thead', {}, h('tr', {}, ['id', 'tensor', 'shape', 'offset', 'bytes', 'lives from', 'to'].map(
              (name, i) => h('th', {class: i === 0 || i > 2 ? 'n' : ''}, name)))),
          h('tbody', {}, stored.map((t) => h('tr', {},
              h('td', {class: 'n'}, t.id), h('td', {}, stepLink(t.first, steps[t.first - 1].name)),
              h('td', {class: 'mono'}, t.shape), h('td', {class: 'n'}, t.offset.toLocaleString('en')),
              h('td', {class: 'n'}, t.bytes.toLocaleString('en')), h('td', {class: 'n'}, t.first),
              h('td', {class: 'n'}, t.last))))))));
  says.textContent = idle;

  const again = redrawn(chart, (width) => {
    const shown = select.value === 'all' ? steps : steps.filter((s) => s.layer === Number(select.value));
    const from = shown[0].n, to = shown[shown.length - 1].n + 1;
    const height = 300, left = 62, right = 8, top = 8, bottom = 44;
    const x = (n) => left + (width - left - right) * (Math.min(Math.max(n, from), to) - from) / (to - from);
    const y = (bytes) => top + (height - top - bottom) * (1 - bytes / data.arena);
    const unit = data.arena >= 1e6 ? [1e6, 'MB'] : [1e3, 'kB'];
    const name = (t) => `${steps[t.first - 1].name} ${t.shape}: ${bytesText(t.bytes)} at ` +
        `${t.offset.toLocaleString('en')}, statements ${t.first} to ${t.last}`;
    const boxes = stored.filter((t) => t.first < to && t.last + 1 > from).map((t) => {
      const wide = x(t.last + 1) - x(t.first), tall = y(t.offset) - y(t.offset + t.bytes);
      const rect = h('rect', {class: 'tensor', x: x(t.first), y: y(t.offset + t.bytes), width: Math.max(1, wide),
                              height: Math.max(1, tall),
                              fill: color(t.shape.startsWith('q8') ? 'arena' : 'held')}, h('title', {}, name(t)));
      const choose = () => {
        for (const other of chart.querySelectorAll('rect.chosen')) other.classList.remove('chosen');
        rect.classList.add('chosen');
        says.replaceChildren(name(t) + '. ', stepLink(t.first, 'Show its statement'));
      };
      rect.addEventListener('click', choose);
      rect.addEventListener('mouseenter', choose);
      const label = t.name.length * 7 + 8 < wide && tall > 14
          ? h('text', {x: x(t.first) + 7, y: y(t.offset + t.bytes) + Math.min(17, tall / 2 + 4),
                       style: `fill: ${t.shape.startsWith('q8') ? '#11161d' : color('on-mark')}; pointer-events: none`}, t.name) : null;
      return [rect, label];
    });
    const every = Math.max(1, Math.ceil((to - from) / (width / 40)));
    return h('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label':
                     `Places of ${stored.length} tensors in the arena over the statements of a pass`},
      niceTicks(0, data.arena / unit[0], 5).map((t) => [
        h('line', {class: 'axis', x1: left, x2: width - right, y1: y(t * unit[0]), y2: y(t * unit[0])}),
        h('text', {class: 'soft', x: left - 6, y: y(t * unit[0]) + 4, 'text-anchor': 'end'}, t)]),
      boxes,
      shown.filter((s) => (s.n - from) % every === 0).map((s) => h('text', {
        class: 'soft', x: (x(s.n) + x(s.n + 1)) / 2, y: height - bottom + 17, 'text-anchor': 'middle'}, s.n)),
      h('text', {x: left + (width - left - right) / 2, y: height - 8, 'text-anchor': 'middle'}, 'statement'),
      h('text', {x: 12, y: top + (height - top - bottom) / 2, 'text-anchor': 'middle',
                 transform: `rotate(-90 12 ${top + (height - top - bottom) / 2})`}, 'offset, ' + unit[1]));
  });
  select.addEventListener('change', () => { says.textContent = idle; again(); });
  window.addEventListener('load', again);
})();

/** A button that goes to a statement. */
function stepLink(number, text) {
  return h('button', {class: 'link', type: 'button', onclick: () => showStep(number)}, text);
}
