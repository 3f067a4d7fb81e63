// SPDX-License-Identifier: MIT

// Memory and reading: the budget's parts, other budgets, and which weights are held.
const partGroups = [
  ['held', 'held weights', (name) => name === 'held weights'],
  ['windows', 'windows for reading', (name) => name === 'windows for reading'],
  ['cache', 'key-value cache', (name) => name === 'key-value cache'],
  ['arena', 'activations', (name) => name === 'activations'],
  ['rest', 'program and the rest', () => true],
];
function groupOf(name) {
  return partGroups.find(([, , takes]) => takes(name));
}
function partsBar(parts) {
  const groups = partGroups.map(([c, name]) => ({
    color: c, name, value: sum(parts.filter((p) => groupOf(p.name)[0] === c), (p) => p.bytes)}));
  for (const group of groups) group.text = mibText(group.value);
  return [stack(groups, 'Memory by part'),
          legend(groups.filter((g) => g.value > 0).map((g) => [g.color, `${g.name} ${g.text}`]))];
}

let shownHeld = null;  // bytes held by parameter under the slider's budget; null: this plan's
const heldListeners = [];

if (compiled) (function memory() {
  const mine = compiled.this;
  const total = sum(mine.parts, (p) => p.bytes);
  section('memory', 'What the process takes',
      h('p', {}, data.budget
          ? ['The budget is ', exact(data.budget.bytes, mibText, 'budget'),
             ' for the whole process at its peak, the context full, whatever the prompt. Predicted: ',
             exact(total, mibText, 'predicted'), '.']
          : ['No budget: all weights are held. Predicted at its peak, the context full: ',
             exact(total, mibText, 'predicted'), '.']),
      partsBar(mine.parts),
      h('details', {}, h('summary', {}, 'All parts, to the byte'),
        h('div', {class: 'scroll'}, h('table', {},
          h('thead', {}, h('tr', {}, h('th', {}, 'part'), h('th', {class: 'n'}, 'bytes'),
                           h('th', {class: 'n'}, 'MiB'))),
          h('tbody', {}, mine.parts.map((p) => h('tr', {},
              h('td', {}, swatch(groupOf(p.name)[0]), p.name),
              h('td', {class: 'n'}, h('data', {value: p.bytes, 'data-name': 'part ' + p.name},
                                      p.bytes.toLocaleString('en'))),
              h('td', {class: 'n'}, (p.bytes / 1048576).toFixed(2)))),
            h('tr', {class: 'total'}, h('td', {}, 'sum'),
              h('td', {class: 'n'}, total.toLocaleString('en')),
              h('td', {class: 'n'}, (total / 1048576).toFixed(2))))))));
})();

if (compiled && compiled.budgets.length > 1) (function budgets() {
  const list = compiled.budgets;
  const own = data.budget ? list.findIndex((b) => b.budget === data.budget.bytes) : list.length - 1;
  let at = own;
  const range = h('input', {type: 'range', id: 'budget', min: 0, max: list.length - 1, step: 1, value: own,
                            'aria-describedby': 'budget-says'});
  const says = h('output', {id: 'budget-says', for: 'budget', 'aria-live': 'polite'});
  const chart = h('div'), parts = h('div');
  const readOf = (b) => b.schedule ? b.schedule.read : 0;
  const scannedBy = (b) => b.schedule ? b.schedule.scanned : undefined;
  section('budgets', 'Other budgets',
      h('p', {}, 'Each point is this model compiled for another budget, by the compiler itself. ',
        'Move the slider (or use the arrow keys) to see what it would hold and read.'),
      h('div', {class: 'card'},
        h('label', {for: 'budget'}, 'Budget'), range, says, chart, parts));

  const drawChart = redrawn(chart, (width) => {
    const height = 240, left = 62, right = 14, top = 12, bottom = 44;
    const peak = (b) => b.peak / 1048576;
    const most = Math.max(...list.map((b) => Math.max(readOf(b), scannedBy(b) || 0)), 1);
    const first = peak(list[0]), last = peak(list[list.length - 1]);
    const x = (b) => left + (width - left - right) * (peak(b) - first) / Math.max(1, last - first);
    const y = (bytes) => top + (height - top - bottom) * (1 - bytes / most);
    const path = (of) => list.filter((b) => of(b) !== undefined)
        .map((b, i) => (i ? 'L' : 'M') + x(b).toFixed(1) + ' ' + y(of(b)).toFixed(1)).join('');
    return [
      h('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label':
                'Bytes read per token over the process\'s peak memory'},
        niceTicks(0, most / 1e6, 5).map((mb) => [
          h('line', {class: 'axis', x1: left, x2: width - right, y1: y(mb * 1e6), y2: y(mb * 1e6)}),
          h('text', {class: 'soft', x: left - 6, y: y(mb * 1e6) + 4, 'text-anchor': 'end'}, mb)]),
        niceTicks(first, last, width < 500 ? 4 : 8).map((mib) => h('text', {
          class: 'soft', x: x({peak: mib * 1048576}), y: height - bottom + 18, 'text-anchor': 'middle'},
          mib)),
        h('text', {x: left + (width - left - right) / 2, y: height - 6, 'text-anchor': 'middle'},
          'peak memory, MiB'),
        h('text', {x: 12, y: top + (height - top - bottom) / 2, 'text-anchor': 'middle',
                   transform: `rotate(-90 12 ${top + (height - top - bottom) / 2})`}, 'MB read per token'),
        h('path', {d: path(scannedBy), fill: 'none', stroke: color('rival'), 'stroke-width': 2.5,
                   'stroke-dasharray': '7 5'}),
        h('path', {d: path(readOf), fill: 'none', stroke: color('held'), 'stroke-width': 3}),
        list.map((b) => h('circle', {cx: x(b), cy: y(readOf(b)), r: 3, fill: color('held')})),
        h('line', {x1: x(list[at]), x2: x(list[at]), y1: top, y2: height - bottom,
                   stroke: color('focus'), 'stroke-width': 2}),
        h('circle', {cx: x(list[at]), cy: y(readOf(list[at])), r: 6, fill: color('focus')})),
      legend([['held', 'this schedule' + (list.every((b) => !b.schedule || b.schedule.read === b.schedule.bound)
                        ? ' (equal to the lower bound)' : '')],
              ['rival', 'all that a token scans', true]]),
    ].reduce((holder, child) => (holder.append(child), holder), h('div'));
  });

  const show = () => {
    at = Number(range.value);
    const b = list[at], schedule = b.schedule;
    says.replaceChildren(
        h('b', {}, b.budget ? mibText(b.budget) : 'no limit'), at === own ? ' (this plan)' : '',
        ': reads ', exact(readOf(b), bytesText, 'slider-read'), ' per token',
        schedule && schedule.bound !== schedule.read ? `, at least ${bytesText(schedule.bound)}` : '',
        '; peak ', exact(b.peak, mibText, 'slider-peak'), '; chunk ',
        h('data', {value: b.chunk, 'data-name': 'slider-chunk'}, b.chunk), '.');
    range.setAttribute('aria-valuetext', b.budget ? mibText(b.budget) : 'no limit');
    parts.replaceChildren(...partsBar(b.parts));
    drawChart();
    shownHeld = at === own ? null
        : b.budget ? new Map(b.held) : new Map(data.params.map((p, i) => [i + 1, p.bytes]));
    for (const listener of heldListeners) listener(b);
  };
  range.addEventListener('input', show);
  window.addEventListener('load', show);
  show();
})();

(function schedule() {
  const s = compiled && compiled.this.schedule;
  const rows = h('div', {class: 'rows'}), note = h('p', {class: 'soft', 'aria-live': 'polite'});
  const bars = [];
  if (s) {
    const entries = [['reads, by this schedule', s.read, 'held'], ['lower bound', s.bound, 'arena'],
                     ['scans in all', s.scanned, 'rest']];
    bars.push(h('div', {class: 'rows', style: 'margin: .75rem 0 1.25rem'}, entries.map(([name, bytes, c]) => [
      h('span', {class: 'what'}, name),
      h('div', {class: 'meter'}, h('span', {style:
          `width: ${100 * bytes / s.scanned}%; background: ${color(c)}`})),
      h('span', {class: 'amount'}, exact(bytes, bytesText, 'schedule ' + name),
        ` · ${percentText(bytes, s.scanned)}`)])));
  }
  section('schedule', 'The weights over a pass',
      h('p', {}, 'A token scans these matrices from top to bottom, each line from left to right. ',
        data.budget ? 'What is held is read once; the rest is read again for every token.'
                    : 'Without a budget all of them are held.'),
      bars, legend([['held', 'held in memory'], ['streamed', 'streamed: read in every pass']]), note, rows);

  const exactTiles = new Map((data.tiles || []).map((t) => [t.param, t]));
  const segments = (id, param) => {
    const tiles = exactTiles.get(id);
    if (shownHeld || !tiles) {
      const held = shownHeld ? shownHeld.get(id) ?? param.held : param.held;
      return [['held', held], ['streamed', param.bytes - held]];
    }
    return tiles.ranges.map(([first, last, held]) => {
      const end = last + 1 === tiles.count ? param.bytes : (last + 1) * tiles.each;
      return [held ? 'held' : 'streamed', end - first * tiles.each];
    });
  };
  const draw = () => {
    let first = true, allHeld = 0, all = 0;
    rows.replaceChildren(...layerGroups.flatMap((group) => {
      const blocks = [];
      for (const step of group.steps)
        for (const range of step.weights.filter((r) => !r.picked)) {
          if (range.chosen) {  // a table: its matrices together
            const ids = [...Array(range.last - range.first + 1).keys()].map((i) => i + range.first);
            const bytes = sum(ids, (id) => data.params[id - 1].bytes);
            const held = sum(ids, (id) => sum(segments(id, data.params[id - 1])
                .filter(([kind]) => kind === 'held'), ([, n]) => n));
            blocks.push({name: `${lastName(data.params[range.first - 1].name)} × ${ids.length}`, bytes,
                         parts: [['held', held], ['streamed', bytes - held]]});
            continue;
          }
          for (let id = range.first; id <= range.last; ++id) {
            const param = data.params[id - 1];
            if (param.shape.length === 1) continue;
            blocks.push({name: lastName(param.name), bytes: param.bytes, parts: segments(id, param)});
          }
        }
      if (!blocks.length) return [];
      const bytes = sum(blocks, (b) => b.bytes);
      const held = sum(blocks, (b) => sum(b.parts.filter(([kind]) => kind === 'held'), ([, n]) => n));
      all += bytes;
      allHeld += held;
      const line = h('div', {class: 'line', role: 'img', 'aria-label':
          `${layerTitle(group.layer, group.section)}: ${bytesText(held)} of ${bytesText(bytes)} held`},
          blocks.map((b) => h('div', {class: 'matrix', style: `flex: ${b.bytes} 0 0`, title:
              `${b.name}: ${bytesText(b.bytes)}, ${percentText(sum(b.parts.filter(([k]) => k === 'held'), ([, n]) => n), b.bytes)} held`},
              b.parts.map(([kind, n]) => n > 0 ? h('span', {class: kind, style: `flex: ${n} 0 0`}) : null))));
      const names = first && group.layer >= 0 ? [h('span'), h('div', {class: 'names', 'aria-hidden': 'true'},
          blocks.map((b) => h('span', {style: `flex: ${b.bytes} 0 0`}, b.name))), h('span')] : [];
      if (names.length) first = false;
      return [...names, h('span', {class: 'what'}, layerTitle(group.layer, group.section)), line,
              h('span', {class: 'amount'}, `${bytesText(bytes)} · ${percentText(held, bytes)}`)];
    }));
    note.textContent = (shownHeld ? 'As the slider says: ' : '') +
        `${bytesText(allHeld)} of the ${bytesText(all)} that a pass multiplies by are held. At the right of ` +
        'each line: its bytes, and how much of them is held.';
  };
  heldListeners.push(draw);
  draw();
})();
