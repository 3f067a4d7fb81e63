// SPDX-License-Identifier: MIT

// What a run took: by operator, by layer. Only on pages of llmsql-run --profile=html.
const timeParts = [['computing', 'computing'], ['reading', 'reading weights'], ['sql', 'SQL']];
let phase = run ? run.phases[run.phases.length - 1] : null;  // the one that is shown
const phaseListeners = [];

/** Milliseconds a pass of a step in the phase that is shown. */
function stepTime(step) {
  const t = phase && phase.statements[step.n - 1];
  if (!t || t[0] === 0) return null;
  const ms = (seconds) => 1e3 * seconds / phase.passes;
  return {computing: ms(t[2]), reading: ms(t[3]), sql: ms(t[4]), total: ms(t[2] + t[3] + t[4]),
          weights: t[5] / phase.passes, read: t[6] / phase.passes, runs: t[0]};
}

function addTimes(list) {
  const all = {computing: 0, reading: 0, sql: 0, total: 0, weights: 0, read: 0};
  for (const step of list) {
    const time = stepTime(step);
    if (time) for (const key of Object.keys(all)) all[key] += time[key];
  }
  return all;
}

function msText(ms) {
  return (ms >= 100 ? ms.toFixed(1) : ms >= 1 ? ms.toFixed(2) : ms.toFixed(3)) + ' ms';
}

function meter(time, most, label) {
  return h('div', {class: 'meter', role: 'img', 'aria-label': label, title: label},
           timeParts.map(([key]) => h('span', {style:
               `width: ${most > 0 ? 100 * time[key] / most : 0}%; background: ${color(key)}`})));
}

function timeLabel(name, time) {
  return `${name}: ${msText(time.total)} a pass: ` +
         timeParts.map(([key, text]) => `${text} ${msText(time[key])}`).join(', ');
}

if (run) (function measured() {
  const summary = h('div'), operators = h('div', {class: 'scroll'}), layers = h('div');
  const buttons = run.phases.map((p) => h('button', {
    type: 'button', 'aria-pressed': String(p === phase),
    onclick: () => {
      phase = p;
      buttons.forEach((b, i) => b.setAttribute('aria-pressed', String(run.phases[i] === p)));
      for (const listener of phaseListeners) listener();
    }}, p.name));
  section('run', 'What the run took',
      h('p', {}, `Times are means over the ${run.threads} thread${run.threads === 1 ? '' : 's'}. Reading is ` +
        'the copying of weights from the page cache, or waiting for the disk; hand-offs are ' +
        'threads waiting for each other.'),
      h('div', {class: 'controls', role: 'group', 'aria-label': 'Phase'}, buttons),
      summary, h('h3', {}, 'By operator'), operators, h('h3', {}, 'By layer'), layers);

  const draw = () => {
    const passMs = 1e3 * phase.seconds / phase.passes;
    const ms = (seconds) => 1e3 * seconds / phase.passes;
    const rest = phase.seconds - phase.computing - phase.reading - phase.sql - phase.waiting;
    const parts = [['computing', 'computing', phase.computing],
                   ['reading', 'reading weights', phase.reading], ['sql', 'SQL', phase.sql],
                   ['waiting', 'hand-offs', phase.waiting],
                   ['sampling', 'sampling and text', rest]];
    summary.replaceChildren(
        h('p', {}, `${phase.name}: ${counted(phase.tokens, 'token')} in ${counted(phase.passes, 'pass', 'passes')} of `,
          h('b', {}, msText(passMs)), `, ${(phase.tokens / phase.seconds).toFixed(1)} tokens a second.`),
        stack(parts.map(([c, name, s]) =>
            ({name, value: s, color: c, text: `${msText(ms(s))}, ${percentText(s, phase.seconds)}`})),
              'Where a pass goes'),
        legend(parts.map(([c, name, s]) =>
            [c, `${name} ${msText(ms(s))} (${percentText(s, phase.seconds)})`])));

    const kinds = new Map();
    for (const step of steps) {
      if (!stepTime(step)) continue;
      if (!kinds.has(step.kind)) kinds.set(step.kind, []);
      kinds.get(step.kind).push(step);
    }
    const rows = [...kinds].map(([kind, list]) => ({kind, list, time: addTimes(list)}))
                     .sort((a, b) => b.time.total - a.time.total);
    const most = Math.max(...rows.map((row) => row.time.total));
    operators.replaceChildren(h('table', {},
        h('thead', {}, h('tr', {}, h('th', {}, 'operator'), h('th', {class: 'wide'}, ''),
          ['ms a pass', 'share', 'weights', 'GB/s', 'read'].map(
              (t) => h('th', {class: t === 'weights' ? 'n wide' : 'n'}, t)))),
        h('tbody', {}, rows.map(({kind, list, time}) => h('tr', {},
            h('td', {}, kind, h('span', {class: 'soft'}, ` × ${list.length}`)),
            h('td', {class: 'grow wide'}, meter(time, most, timeLabel(kind, time))),
            h('td', {class: 'n'}, time.total.toFixed(3)),
            h('td', {class: 'n'}, percentText(time.total, passMs)),
            h('td', {class: 'n wide'}, time.weights ? bytesText(time.weights) : '–'),
            h('td', {class: 'n'}, time.weights && time.computing + time.reading > 0
                ? (time.weights / 1e6 / (time.computing + time.reading)).toFixed(1) : '–'),
            h('td', {class: 'n'}, time.read ? bytesText(time.read) : '–'))))));

    const groups = new Map();
    for (const step of steps) {
      const key = step.layer >= 0 ? step.layer : 'outside';
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(step);
    }
    const outside = groups.get('outside') || [];
    groups.delete('outside');
    const lines = [...groups].map(([layer, list]) => ({name: 'layer ' + layer, time: addTimes(list)}));
    const longest = Math.max(...lines.map((line) => line.time.total));
    if (outside.length) lines.push({name: 'outside', time: addTimes(outside)});
    layers.replaceChildren(
        legend(timeParts.map(([key, text]) => [key, text])),
        h('div', {class: 'rows'}, lines.map(({name, time}) => {
          // Bars are on the layers' scale. What is outside may take longer: its bar then fades out.
          const over = time.total > longest;
          const bar = meter(time, over ? time.total : longest, timeLabel(name, time));
          if (over) bar.classList.add('over');
          return [h('span', {class: 'what'}, name), bar,
                  h('span', {class: 'amount'}, `${msText(time.total)} · ${percentText(time.total, passMs)}`)];
        })),
        lines.some((line) => line.time.total > longest)
            ? h('p', {class: 'soft'}, 'The bar that fades out is longer than the scale of the layers.') : '');
  };
  phaseListeners.push(draw);
  draw();
})();
