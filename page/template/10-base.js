// SPDX-License-Identifier: MIT
// The page of a plan. What it draws is the JSON in #data: see page/plan_json.cpp,
// compiler/page/compiled_json.cpp and runtime/observe/profile_page.cpp for what is in it.
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const compiled = data.compiled || null;  // by llmsqlc: memory, schedule, other budgets
const run = data.run || null;            // by llmsql-run: what passes took
const steps = data.steps;
const tensorById = new Map(data.tensors.map((t) => [t.id, t]));
const main = document.getElementById('main');

/** An element: tag, attributes (on… are listeners), children (text or elements; null is left out). */
function h(tag, attributes, ...children) {
  const element = tag === 'svg' || h.svg.has(tag)
      ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(Infinity))
    if (child !== null && child !== undefined && child !== false)
      element.append(child instanceof Node ? child : String(child));
  return element;
}
h.svg = new Set(['svg', 'g', 'rect', 'line', 'path', 'text', 'circle', 'title']);

/** "1 token", "2 tokens". */
function counted(count, noun, plural = noun + 's') {
  return `${count} ${count === 1 ? noun : plural}`;
}

/** "498.0 MB", "62.5 kB": decimal units, as the plan's own comments have them. */
function bytesText(bytes) {
  if (Math.abs(bytes) >= 999950000) return (bytes / 1e9).toFixed(2) + ' GB';
  if (Math.abs(bytes) >= 999950) return (bytes / 1e6).toFixed(1) + ' MB';
  if (Math.abs(bytes) >= 1000) return (bytes / 1e3).toFixed(1) + ' kB';
  return bytes + ' bytes';
}

/** "76.4 MiB": what budgets are said in. */
function mibText(bytes) {
  const mib = bytes / 1048576;
  return (mib >= 10000 ? (mib / 1024).toFixed(1) + ' GiB' : mib.toFixed(1) + ' MiB');
}

function percentText(part, whole) {
  return (whole > 0 ? 100 * part / whole : 0).toFixed(1) + ' %';
}

/** A number with its exact value behind it, for readers and for programs. */
function exact(value, text, name) {
  return h('data', {value, title: value + ' bytes', 'data-name': name}, text(value));
}

function sum(list, of) {
  return list.reduce((total, item) => total + of(item), 0);
}

function color(name) {
  return 'var(--' + name + ')';
}

function swatch(name, dashed) {
  return h('span', {class: 'swatch' + (dashed ? ' dashed' : ''), 'aria-hidden': 'true',
                    style: `background: ${color(name)}; border-color: ${color(name)}`});
}

function legend(entries) {
  return h('ul', {class: 'legend'},
           entries.map(([name, text, dashed]) => h('li', {}, swatch(name, dashed), text)));
}

const deep = new Set(['held', 'computing']);  // colours on which text is light on a light page

/** Parts side by side, each as wide as its share; names where there is room. */
function stack(parts, label) {
  const all = sum(parts, (part) => part.value) || 1;
  return h('div', {class: 'stack', role: 'img', 'aria-label': label + ': ' +
                   parts.map((p) => `${p.name} ${p.text}`).join(', ')},
           parts.filter((p) => p.value > 0).map((p) => h(
               'span', {style: `flex: ${p.value / all} 0 0; background: ${color(p.color)}`,
                        title: `${p.name}: ${p.text}`,
                        class: (p.value / all < 0.12 ? 'thin ' : '') + (deep.has(p.color) ? 'deep' : '')},
               p.value / all < 0.12 ? '' : p.name)));
}

/** Round numbers between two, about as many as wanted. */
function niceTicks(low, high, wanted) {
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high; ++i) ticks.push(Number((i * step).toPrecision(6)));
  return ticks;
}

const sections = [];

/** A section with a heading and an entry in the contents. */
function section(id, title, ...children) {
  const element = h('section', {'aria-labelledby': id}, h('h2', {id}, title), children);
  sections.push([id, title]);
  main.append(element);
  return element;
}

/** Draws now and whenever the page's width or theme changes: draw() returns the new content. */
const redraws = [];
function redrawn(holder, draw) {
  const again = () => holder.replaceChildren(draw(Math.max(280, holder.clientWidth)));
  redraws.push(again);
  return again;
}
let lastWidth = window.innerWidth;
window.addEventListener('resize', () => {
  if (window.innerWidth === lastWidth) return;  // phones resize when their bars come and go
  lastWidth = window.innerWidth;
  for (const again of redraws) again();
});

function weightsOf(step) {
  const list = [];
  for (const range of step.weights)
    for (let id = range.first; id <= range.last; ++id)
      list.push({id, range, param: data.params[id - 1]});
  return list;
}

function lastName(name) {
  const parts = name.split('.');
  if (parts.length > 2 && /^\d+$/.test(parts[parts.length - 1])) parts.pop();
  return parts[parts.length - 1];
}

function layerTitle(layer, part) {
  return layer >= 0 ? 'layer ' + layer : part === 'logits' ? 'after the layers' : 'before the layers';
}

/** Steps of one layer after the other; those outside come before and after. */
function byLayer() {
  const groups = [];
  for (const step of steps) {
    const last = groups[groups.length - 1];
    if (last && last.layer === step.layer) last.steps.push(step);
    else groups.push({layer: step.layer, section: step.section, steps: [step]});
  }
  return groups;
}
const layerGroups = byLayer();
