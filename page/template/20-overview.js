// SPDX-License-Identifier: MIT

// The head of the page: what the plan is, and its few numbers.
(function overview() {
  const kinds = {};
  for (const param of data.params) kinds[param.type] = (kinds[param.type] || 0) + param.bytes;
  const types = Object.entries(kinds).sort((a, b) => b[1] - a[1]).map(([type]) => type);
  document.getElementById('model').textContent = data.model;
  document.getElementById('subtitle').textContent =
      [compiled ? 'graph ' + compiled.graph : null, types[0] + ' weights',
       'context ' + data.context.toLocaleString('en'), 'chunk ' + data.chunk, data.kv_type + ' cache',
       data.ignored ? 'imported without ' + data.ignored : null,
       data.budget ? 'budget ' + mibText(data.budget.bytes) : 'no budget: everything is held',
       run ? `measured: ${run.threads} thread${run.threads === 1 ? '' : 's'}, ${run.kernels}, --io ${run.io}`
           : null].filter(Boolean).join(' · ');

  const stored = sum(data.params, (p) => p.bytes), held = sum(data.params, (p) => p.held);
  const matrices = sum(steps, (s) => s.bytes), streamed = sum(steps, (s) => s.streamed);
  const tile = (name, value, note) =>
      h('div', {class: 'tile'}, h('dt', {}, name), h('dd', {}, value, h('small', {}, note)));
  const tiles = [tile('weights', exact(stored, bytesText, 'stored'),
                      `${data.params.length.toLocaleString('en')} parameters`),
                 tile('held in memory', exact(held, bytesText, 'held'),
                      percentText(held, stored) + ' of the weights')];
  const schedule = compiled && compiled.this.schedule;
  if (schedule) {
    tiles.push(tile('read per token', exact(schedule.read, bytesText, 'read'),
                    schedule.read === schedule.bound
                        ? 'no schedule reads less'
                        : 'lower bound ' + bytesText(schedule.bound)));
    tiles.push(tile('scanned per token', exact(schedule.scanned, bytesText, 'scanned'),
                    'all of it would be read again, were nothing held'));
  } else if (data.budget) {
    tiles.push(tile('read per token', exact(streamed, bytesText, 'read'),
                    'what is not held, once a pass'));
  } else {
    tiles.push(tile('multiplied by, per token', exact(matrices, bytesText, 'scanned'),
                    'none of it read again'));
  }
  if (compiled)
    tiles.push(tile('peak memory, predicted', exact(compiled.this.peak, mibText, 'peak'),
                    'the whole process, context full'));
  tiles.push(tile('activations', exact(data.arena, bytesText, 'arena'),
                  `${data.tensors.filter((t) => !t.slice_of).length} tensors share it`));
  tiles.push(tile('a pass', h('data', {value: steps.length, 'data-name': 'steps'}, steps.length),
                  'SQL statements'));
  if (run)
    for (const phase of run.phases)
      tiles.push(tile(phase.name, (phase.tokens / phase.seconds).toFixed(1) + ' tok/s',
                      `${counted(phase.tokens, 'token')}, ${counted(phase.passes, 'pass', 'passes')}` +
                      (phase.drafts ? `; of ${counted(phase.drafts[0], 'draft')} ${phase.drafts[1]} were right` : '')));
  main.append(h('dl', {class: 'tiles'}, tiles));
})();

(function theme() {
  const root = document.documentElement;
  const asked = new URLSearchParams(location.hash.slice(1)).get('theme');
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  let chosen = asked === 'dark' || asked === 'light' ? asked : null;
  const apply = () => {
    root.dataset.theme = chosen || (system.matches ? 'dark' : 'light');
    document.getElementById('theme').textContent =
        root.dataset.theme === 'dark' ? 'Light colours' : 'Dark colours';
  };
  system.addEventListener('change', apply);
  document.getElementById('theme').addEventListener('click', () => {
    chosen = root.dataset.theme === 'dark' ? 'light' : 'dark';
    apply();
  });
  apply();
})();
