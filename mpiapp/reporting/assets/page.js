'use strict';
// Puts the report together from its data; figures are drawn when seen.

function element(name, properties) {
  return Object.assign(document.createElement(name), properties || {});
}

function save(name, address) {
  const link = element('a', { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

function saveText(name, text, kind) {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  save(name, address);
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function csvText(lines) {
  return lines.map(line => line.map(v => {
    const text = v === null || v === undefined ? '' : String(v);
    return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  }).join(',')).join('\n') + '\n';
}

function svgText(node) {
  const copy = node.cloneNode(true);
  copy.querySelectorAll('[data-tip]').forEach(n => {
    n.removeAttribute('data-tip'); n.removeAttribute('data-row');
    n.removeAttribute('class');
  });
  return new XMLSerializer().serializeToString(copy);
}

async function pngOf(node) {
  const box = node.viewBox.baseVal, scale = 2;
  const image = new Image();
  image.src = 'data:image/svg+xml;charset=utf-8,'
    + encodeURIComponent(svgText(node));
  await image.decode();
  const canvas = element('canvas', { width: box.width * scale,
    height: box.height * scale });
  const context = canvas.getContext('2d');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL('image/png');
}

class Page {
  constructor(data) {
    this.data = data; this.tables = {}; this.view = null; this.figures = [];
    this.structures = data.structures
      ? new Structures(data.structures) : null;
    this.build();
  }
  build() {
    const nav = document.querySelector('nav');
    const main = document.querySelector('main');
    for (const part of this.data.sections) {
      const link = element('a', { href: `#section-${part.name}`,
        textContent: part.title });
      nav.insertBefore(link, nav.querySelector('small'));
      const section = element('section', { id: `section-${part.name}` });
      section.append(element('h2', { textContent: part.title }));
      for (const block of part.blocks) section.append(this.block(block));
      main.append(section);
    }
    this.watch();
    this.tips();
    window.addEventListener('beforeprint', () => this.drawAll());
  }
  block(b) {
    if (b.kind === 'Facts') return this.facts(b);
    if (b.kind === 'Text') {
      return element('p', { className: 'wide', textContent: b.text });
    }
    if (b.kind === 'Table') return this.table(b);
    if (b.kind === 'Viewer') return this.viewer();
    return this.figure(b);
  }
  facts(b) {
    const node = element('div', { className: 'facts wide' });
    for (const f of b.items) {
      const box = element('div');
      box.append(element('span', { textContent: f.label }),
        element('b', { textContent: f.value }));
      if (f.hint) box.append(element('em', { textContent: f.hint }));
      node.append(box);
    }
    return node;
  }
  card(b, wide) {
    const card = element('div', { id: b.name,
      className: wide ? 'card wide' : 'card' });
    const tools = element('div', { className: 'tools' });
    card.append(element('h3', { textContent: b.title }), tools);
    return [card, tools];
  }
  tool(tools, name, act) {
    const button = element('button', { textContent: name,
      title: `save as ${name}` });
    button.onclick = act;
    tools.append(button);
  }
  table(b) {
    const [card, tools] = this.card(b, true);
    const table = new DataTable(b, card,
      (row, ask) => this.open(row, ask));
    this.tables[b.name] = table;
    this.tool(tools, 'CSV', () => saveText(`${b.name}.csv`,
      csvText(table.csv()), 'text/csv'));
    if (b.caption) card.append(element('p', { className: 'note',
      textContent: b.caption }));
    return card;
  }
  figure(b) {
    const chart = CHARTS[b.kind];
    const [card, tools] = this.card(b, chart.wide && chart.wide(b));
    const keys = element('div', { className: 'keys' });
    for (const [label, colour] of chart.keys(b)) {
      const key = element('span', { textContent: label });
      const patch = element('i');
      patch.style.background = colour;
      key.prepend(patch);
      keys.append(key);
    }
    const figure = { node: null, choice: '', card };
    const names = chart.menu ? chart.menu(b) : [];
    if (names.length) {
      const menu = element('select');
      menu.setAttribute('aria-label', 'molecule');
      menu.append(element('option', { value: '', textContent: 'all' }));
      for (const name of names) {
        menu.append(element('option', { value: name, textContent: name }));
      }
      menu.onchange = () => { figure.choice = menu.value; figure.draw(); };
      keys.append(menu);
    }
    const holder = element('div');
    holder.style.minHeight = '180px';
    figure.draw = () => {
      figure.node = chart.draw(b, figure.choice);
      holder.style.minHeight = '';
      holder.replaceChildren(figure.node);
    };
    const drawn = () => { if (!figure.node) figure.draw();
      return figure.node; };
    this.figures.push(figure);
    this.tool(tools, 'SVG', () => saveText(`${b.name}.svg`, svgText(drawn()),
      'image/svg+xml'));
    this.tool(tools, 'PNG', async () => save(`${b.name}.png`,
      await pngOf(drawn())));
    this.tool(tools, 'CSV', () => saveText(`${b.name}.csv`,
      csvText(chart.csv(b)), 'text/csv'));
    card.append(keys, holder);
    if (b.caption) card.append(element('p', { className: 'note',
      textContent: b.caption }));
    return card;
  }
  viewer() {
    const [card] = this.card({ name: 'viewer', title: '3D view' }, true);
    this.view = new StructureView(card, this.structures,
      row => this.describe(row));
    this.viewCard = card;
    return card;
  }
  describe(row) {
    const table = this.tables.records && this.tables.records.table;
    const place = table ? table.rows.indexOf(row) : -1;
    if (place < 0) return [['row', String(row)]];
    return table.fields.filter(f => f.digits === null
      ? f.values[place] && f.values[place] !== '?'
      : f.values[place] !== null).map(f => [f.label, (f.digits === null
      ? String(f.values[place]) : number(f.values[place], f.digits))
      + (f.unit ? ` ${f.unit}` : '')]);
  }
  open(row, ask) {
    const can = this.structures && this.structures.places.has(row);
    if (ask || !can || !this.view) return can;
    this.view.open(row);
    const box = this.viewCard.getBoundingClientRect();
    if (box.top < 0 || box.top > window.innerHeight * 0.6) {
      this.viewCard.scrollIntoView({ block: 'start' });
    }
    return true;
  }
  first() {
    if (this.view && this.view.row === null
      && this.structures.records.length) {
      this.view.open(this.structures.records[this.best()][0]);
    }
  }
  best() {
    // The conformer of largest overlap, else the first.
    const table = this.tables.records.table;
    const field = table.fields.find(f => f.name === 'overlap_gated');
    if (!field) return 0;
    let best = 0, most = -1;
    this.structures.records.forEach((r, i) => {
      const place = table.rows[r[0]] === r[0] ? r[0]
        : table.rows.indexOf(r[0]);
      const v = place < 0 ? null : field.values[place];
      if (v !== null && v > most) { most = v; best = i; }
    });
    return best;
  }
  watch() {
    const seen = new IntersectionObserver(entries => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        const figure = this.figures.find(f => f.card === entry.target);
        if (figure && !figure.node) figure.draw();
        if (entry.target === this.viewCard) this.first();
        seen.unobserve(entry.target);
      }
    }, { rootMargin: '500px' });
    this.figures.forEach(f => seen.observe(f.card));
    if (this.viewCard) seen.observe(this.viewCard);
    const here = new IntersectionObserver(entries => {
      for (const entry of entries) {
        const link = document.querySelector(
          `nav a[href="#${entry.target.id}"]`);
        if (link) link.classList.toggle('here', entry.isIntersecting);
      }
    }, { rootMargin: '-20% 0px -60% 0px' });
    document.querySelectorAll('section').forEach(s => here.observe(s));
  }
  drawAll() {
    this.figures.forEach(f => { if (!f.node) f.draw(); });
    this.first();
  }
  tips() {
    const tip = document.getElementById('tip');
    document.addEventListener('mousemove', event => {
      const text = event.target.dataset && event.target.dataset.tip;
      tip.style.display = text ? 'block' : 'none';
      if (!text) return;
      tip.textContent = text;
      const flip = event.clientX > window.innerWidth - 240;
      tip.style.left = flip ? '' : `${event.clientX + 14}px`;
      tip.style.right = flip
        ? `${window.innerWidth - event.clientX + 14}px` : '';
      tip.style.top = `${event.clientY + 14}px`;
    });
    document.addEventListener('click', event => {
      const row = event.target.dataset && event.target.dataset.row;
      if (row !== undefined && row !== '') this.open(Number(row));
    });
  }
}

window.report = new Page(JSON.parse(
  document.getElementById('data').textContent));
document.documentElement.dataset.ready = 'yes';
