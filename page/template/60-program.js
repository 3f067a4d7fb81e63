// SPDX-License-Identifier: MIT

// The program: every statement, by layer.
const stepElements = new Map();

function showStep(number) {
  const element = stepElements.get(number);
  element.closest('details.layer').open = true;
  element.classList.remove('hidden');
  element.open = true;
  for (const old of document.querySelectorAll('.flash')) old.classList.remove('flash');
  element.classList.add('flash');
  element.scrollIntoView({block: 'center'});
  element.querySelector('summary').focus({preventScroll: true});
}

/** SQL with its keywords and strings marked. */
function sqlText(sql) {
  const words = /('(?:[^']|'')*')|\b(INSERT|INTO|SELECT|FROM|WHERE|AND|BETWEEN|VALUES|UNION|ALL|AS|CASE|WHEN|THEN|ELSE|END|IS|NULL|NOT|OVER|ORDER|BY|LIMIT)\b/g;
  const pieces = [];
  let at = 0;
  for (const match of sql.matchAll(words)) {
    pieces.push(sql.slice(at, match.index),
                h('span', {class: match[1] ? 's' : 'k'}, match[0]));
    at = match.index + match[0].length;
  }
  return h('pre', {tabindex: 0}, h('code', {}, pieces, sql.slice(at)));
}

/** "h = rms_norm(x)  q8[T, 64]" as its two halves. */
function formulaParts(step) {
  const [formula, ...shape] = step.formula.split('  ');
  return [formula || step.operation, shape.join(' ').trim()];
}

function places(step) {
  const tensor = (id) => {
    const t = tensorById.get(id);
    if (!t) return ['tensor ' + id];
    return [stepLink(t.first || step.n, t.name), h('span', {class: 'mono'}, ' ' + t.shape),
            h('span', {class: 'soft'}, ` · tensor ${id}, ${bytesText(t.bytes)} at ${t.offset.toLocaleString('en')}`)];
  };
  const cache = (layer, verb) => {
    const c = data.cache_layers[layer];
    return `${verb} cache layer ${layer}` +
        (c ? `: ${c.heads} heads of ${c.width}${c.shared ? ' (values in keys)' : ''}, ${data.kv_type}` + (c.window ? `, window ${c.window}` : '') : '');
  };
  const rows = [];
  for (const id of step.reads) rows.push([rows.length ? '' : 'reads', tensor(id)]);
  if (step.looks_back !== undefined) rows.push([rows.length ? '' : 'reads', [cache(step.looks_back, 'keys and values of')]]);
  let first = true;
  for (const range of step.weights) {
    const ids = [...Array(range.last - range.first + 1).keys()].map((i) => i + range.first);
    const shown = range.chosen ? ids.slice(0, 1) : ids;
    for (const id of shown) {
      const p = data.params[id - 1];
      const bytes = range.chosen ? sum(ids, (i) => data.params[i - 1].bytes) : p.bytes;
      const held = range.chosen ? sum(ids, (i) => data.params[i - 1].held) : p.held;
      rows.push([first ? 'weights' : '', [
        p.name + (range.chosen ? ` … (${ids.length} matrices, those that tokens choose)` : ''),
        h('span', {class: 'mono'}, ` ${p.type}[${p.shape.join(', ')}]`),
        h('span', {class: 'soft'}, ` · ${bytesText(bytes)}` + (range.picked ? ', rows of it picked'
            : data.budget ? `, ${percentText(held, bytes)} held` : ', held'))]]);
      first = false;
    }
  }
  if (step.writes !== undefined) rows.push(['writes', tensor(step.writes)]);
  if (step.stores !== undefined) rows.push(['writes', [cache(step.stores, 'appends to')]]);
  if (step.unclear) rows.push(['', ['(not written as llmsqlc writes statements: more may be read)']]);
  return h('dl', {}, rows.map(([name, what]) => [h('dt', {}, name), h('dd', {}, what)]));
}

(function program() {
  const search = h('input', {type: 'search', id: 'search', placeholder: 'linear, ffn_down, layer.3 …',
                             'aria-describedby': 'found'});
  const found = h('span', {id: 'found', class: 'soft', 'aria-live': 'polite'});
  const fold = (open) => () => {
    for (const layer of document.querySelectorAll('details.layer')) layer.open = open;
  };
  const holder = h('div');
  section('program', 'The program',
      h('p', {}, 'Every statement that a pass runs, with its SQL. ', h('code', {}, 'T'),
        ' is the number of tokens in the pass; ', h('code', {}, 'logits'),
        ' runs for the rows whose logits are wanted.'),
      h('div', {class: 'controls'},
        h('label', {for: 'search', style: 'flex: 1 1 16rem'}, 'Find', search), found,
        h('button', {type: 'button', onclick: fold(true)}, 'Unfold all'),
        h('button', {type: 'button', onclick: fold(false)}, 'Fold all')),
      holder);

  const inside = (step) => [
    places(step), sqlText(step.sql),
    h('p', {class: 'soft'}, `${step.name} · line ${step.line} of the plan · section ${step.section}`)];
  const asides = [];
  let part = '';
  for (const group of layerGroups) {
    if (group.section !== part) {
      part = group.section;
      holder.append(h('h3', {}, part === 'forward' ? 'forward: for every token of a pass'
                                                   : 'logits: for the rows that are wanted'));
    }
    const list = group.steps.map((step) => {
      const [formula, shape] = formulaParts(step);
      const aside = h('span', {class: 'aside'});
      asides.push(() => {
        const time = stepTime(step);
        aside.textContent = time ? msText(time.total) + (step.bytes ? ' · ' + bytesText(step.bytes) : '')
                                 : step.bytes ? bytesText(step.bytes) : '';
      });
      const body = h('div', {class: 'inside'});
      const element = h('details', {class: 'step', id: 'step-' + step.n, ontoggle: () => {
        if (element.open && !body.firstChild) body.append(...inside(step));
      }}, h('summary', {}, h('span', {class: 'number'}, step.n),
            h('span', {class: 'formula'}, formula, ' ', h('span', {class: 'mono soft'}, shape)), aside), body);
      stepElements.set(step.n, element);
      return element;
    });
    const note = h('span', {class: 'soft'});
    asides.push(() => {
      const bytes = sum(group.steps, (s) => s.bytes);
      note.textContent = ` · ${group.steps.length} statement${group.steps.length === 1 ? '' : 's'}` +
          (bytes ? ` · ${bytesText(bytes)} of weights` : '') +
          (phase ? ` · ${msText(addTimes(group.steps).total)} a pass` : '');
    });
    holder.append(h('details', {class: 'layer', open: group === layerGroups[1]},
        h('summary', {}, layerTitle(group.layer, group.section), note), h('div', {class: 'steps'}, list)));
  }
  const refresh = () => asides.forEach((f) => f());
  phaseListeners.push(refresh);
  refresh();

  search.addEventListener('input', () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const step of steps) {
      const text = [step.name, step.formula, step.kind, step.sql, 'line ' + step.line, step.section].join(' ').toLowerCase();
      const hit = words.every((word) => text.includes(word));
      stepElements.get(step.n).classList.toggle('hidden', !hit);
      count += hit ? 1 : 0;
    }
    for (const layer of holder.querySelectorAll('details.layer')) {
      const some = [...layer.querySelectorAll('details.step')].some((e) => !e.classList.contains('hidden'));
      layer.classList.toggle('hidden', !some);
      if (words.length && some) layer.open = true;
    }
    found.textContent = words.length ? `${count} of ${steps.length} statements` : '';
  });

  for (const [name, title, sql] of [['chat', 'chat: messages to a prompt', data.chat],
                                    ['stop', 'stop: what ends a text', data.stop]])
    if (sql)
      holder.append(h('details', {class: 'layer', id: name}, h('summary', {}, title),
                      h('div', {class: 'steps'}, sqlText(sql))));
})();

(function frame() {
  document.getElementById('contents').append(
      ...sections.map(([id, title]) => h('a', {href: '#' + id}, title)));
  document.getElementById('footer').append(...data.header.map((line) => h('p', {class: 'mono'}, line)));
  const target = location.hash.match(/^#step-(\d+)$/);
  if (target && stepElements.has(Number(target[1])))
    window.addEventListener('load', () => showStep(Number(target[1])));
})();
