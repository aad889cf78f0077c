'use strict';
// Tables: sorted, filtered and shown a page at a time.

function condition(text) {
  // A test of numbers: 298, >2, <=3.6, 3.3..3.7; null: not understood.
  const word = text.trim();
  const range = word.match(/^(-?[\d.eE+-]+)\s*\.\.\s*(-?[\d.eE+-]+)$/);
  if (range) {
    const low = Number(range[1]), high = Number(range[2]);
    return isNaN(low + high) ? null : v => v >= low && v <= high;
  }
  const single = word.match(/^(<=|>=|<|>|=|!=)?\s*(-?[\d.eE+-]+)$/);
  if (!single || isNaN(Number(single[2]))) return null;
  const limit = Number(single[2]);
  return { '<': v => v < limit, '<=': v => v <= limit,
    '>': v => v > limit, '>=': v => v >= limit,
    '!=': v => v !== limit }[single[1]]
    || (v => Math.abs(v - limit) <= 1e-9 * Math.max(1, Math.abs(limit)));
}

class DataTable {
  constructor(table, card, opened) {
    this.table = table; this.opened = opened;
    this.n = table.fields.length ? table.fields[0].values.length : 0;
    this.filters = table.fields.map(() => '');
    this.sorted = null; this.down = false; this.page = 0;
    this.order = [...Array(this.n).keys()];
    this.build(card);
    this.show();
  }
  build(card) {
    const holder = element('div', { className: 'scroll' });
    const node = element('table');
    const head = element('tr'), filters = element('tr',
      { className: 'filters' });
    this.table.fields.forEach((f, i) => {
      const th = element('th', { className: f.digits === null ? '' : 'num',
        title: f.hint });
      const button = element('button', { textContent: f.label,
        title: 'sort' });
      button.onclick = () => this.sort(i);
      th.append(button);
      if (f.unit) th.append(' ', element('small', { textContent: f.unit }));
      head.append(th);
      const input = element('input', { placeholder: 'filter' });
      input.setAttribute('aria-label', `filter ${f.label}`);
      input.oninput = () => { this.filters[i] = input.value;
        this.filter(); };
      const cell = element('th');
      cell.append(input);
      filters.append(cell);
    });
    this.heads = head; this.inputs = filters;
    const top = element('thead');
    top.append(head);
    if (this.n > 5) top.append(filters);
    this.body = element('tbody');
    node.append(top, this.body);
    holder.append(node);
    this.pager = element('div', { className: 'pager' });
    card.append(holder, this.pager);
  }
  filter() {
    const tests = [];
    this.filters.forEach((text, i) => {
      const f = this.table.fields[i], input =
        this.inputs.children[i].firstChild;
      input.classList.remove('bad');
      if (!text.trim()) return;
      if (f.digits === null) {
        const word = text.trim().toLowerCase();
        tests.push(k => String(f.values[k]).toLowerCase().includes(word));
      } else {
        const test = condition(text);
        if (!test) { input.classList.add('bad'); return; }
        tests.push(k => f.values[k] !== null && test(f.values[k]));
      }
    });
    this.order = [...Array(this.n).keys()].filter(
      k => tests.every(t => t(k)));
    this.arrange();
  }
  sort(i) {
    this.down = this.sorted === i ? !this.down : false;
    this.sorted = i;
    this.arrange();
  }
  arrange() {
    if (this.sorted !== null) {
      const f = this.table.fields[this.sorted];
      const sign = this.down ? -1 : 1;
      // what has no value comes last, either way
      this.order.sort((a, b) => {
        const x = f.values[a], y = f.values[b];
        if (x === null || y === null) {
          return (x === null) - (y === null) || a - b;
        }
        return (f.digits === null
          ? sign * String(x).localeCompare(String(y), 'en', { numeric: true })
          : sign * (x - y)) || a - b;
      });
    } else {
      this.order.sort((a, b) => a - b);
    }
    this.page = 0;
    this.show();
  }
  show() {
    const t = this.table, size = t.lines;
    const from = this.page * size;
    this.body.replaceChildren(...this.order.slice(from, from + size).map(
      k => this.line(k)));
    [...this.heads.children].forEach((th, i) => {
      const arrow = i === this.sorted ? (this.down ? ' ▼' : ' ▲') : '';
      th.firstChild.textContent = t.fields[i].label + arrow;
    });
    const n = this.order.length;
    this.pager.replaceChildren();
    if (this.n > size || n < this.n) {
      const back = element('button', { textContent: '‹ back' });
      const on = element('button', { textContent: 'next ›' });
      back.onclick = () => { if (this.page) { this.page--; this.show(); } };
      on.onclick = () => { if (from + size < n) { this.page++;
        this.show(); } };
      const of = n < this.n ? `${n} of ${this.n}` : String(n);
      this.pager.append(back, on, element('span', { textContent: n
        ? `${from + 1}-${Math.min(n, from + size)} of ${of}`
        : `none of ${this.n}` }));
    }
  }
  line(k) {
    const t = this.table, node = element('tr');
    for (const f of t.fields) {
      const v = f.values[k];
      const cell = element('td', { className: f.digits === null ? 'text'
        : 'num', textContent: f.digits === null ? v : number(v, f.digits) });
      if (f.digits === null && String(v).length > 40) cell.title = v;
      if (f.spread.length && f.spread[k] !== null) {
        cell.append(' ', element('i', { textContent:
          `± ${number(f.spread[k], f.digits)}` }));
      }
      node.append(cell);
    }
    if (t.rows.length && this.opened(t.rows[k], true)) {
      node.className = 'opens';
      node.onclick = () => this.opened(t.rows[k]);
    }
    return node;
  }
  csv() {
    const t = this.table, head = [];
    for (const f of t.fields) {
      head.push(f.unit ? `${f.name}_${f.unit}` : f.name);
      if (f.spread.length) head.push(`${f.name}_spread`);
    }
    return [head, ...this.order.map(k => t.fields.flatMap(
      f => f.spread.length ? [f.values[k], f.spread[k]] : [f.values[k]]))];
  }
}
