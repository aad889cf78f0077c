'use strict';
// The 3D view: decodes the packed structures and hands them to 3Dmol.

const SYMBOLS = ('X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti '
  + 'V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd '
  + 'Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb '
  + 'Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn').split(' ');

class Structures {
  constructor(packed) {
    this.graphs = packed.graphs; this.records = packed.records;
    this.size = packed.chunk; this.cache = new Map();
    this.places = new Map(this.records.map((r, i) => [r[0], i]));
  }
  async chunk(number) {
    if (!this.cache.has(number)) {
      this.cache.set(number, unpack(
        document.getElementById(`structures-${number}`).textContent));
    }
    return this.cache.get(number);
  }
  async get(row) {
    // Returns {numbers, bonds, rings, pair, ends, start, final} of a record.
    const place = this.places.get(row);
    const number = Math.floor(place / this.size);
    const values = await this.chunk(number);
    let at = 0;
    for (let i = number * this.size; i < place; i++) {
      at += 6 * this.graphs[this.records[i][1]].numbers.length;
    }
    const [, g, unit, hasStart, hasFinal, a, b] = this.records[place];
    const graph = this.graphs[g], n = 3 * graph.numbers.length;
    const final = new Float64Array(n), start = new Float64Array(n);
    const whole = new Int16Array(n);
    for (let i = 0; i < n; i++) {
      whole[i] = values[at + i] + (i < 3 ? 0 : whole[i - 3]);
      final[i] = whole[i] * unit;
      const begin = (values[at + n + i] + whole[i]) << 16 >> 16;
      start[i] = begin * unit;
    }
    return { ...graph, pair: [a, b], ends: [hasStart, hasFinal], start,
      final };
  }
}

async function unpack(text) {
  const raw = atob(text.trim());
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(
    new DecompressionStream('gzip'));
  const data = new Uint8Array(await new Response(stream).arrayBuffer());
  const n = data.length / 2, values = new Int16Array(n);
  for (let i = 0; i < n; i++) values[i] = data[i] | data[n + i] << 8;
  return values;
}

function atomsOf(one, x) {
  const atoms = one.numbers.map((z, i) => ({ elem: SYMBOLS[z] || 'X',
    x: x[3 * i], y: x[3 * i + 1], z: x[3 * i + 2], bonds: [], bondOrder: [],
    serial: i, index: i }));
  for (let k = 0; k < one.bonds.length; k += 3) {
    const [a, b, twice] = one.bonds.slice(k, k + 3);
    const order = twice === 4 || twice === 6 ? twice / 2 : 1;
    atoms[a].bonds.push(b); atoms[a].bondOrder.push(order);
    atoms[b].bonds.push(a); atoms[b].bondOrder.push(order);
  }
  return atoms;
}

function planeOf(x, atoms) {
  // Centre, normal and radius of a ring system; Jacobi on the 3x3 moments.
  const n = atoms.length, c = [0, 1, 2].map(
    k => atoms.reduce((s, i) => s + x[3 * i + k], 0) / n);
  const m = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
  let radius = 0;
  for (const i of atoms) {
    const d = [0, 1, 2].map(k => x[3 * i + k] - c[k]);
    radius = Math.max(radius, Math.hypot(...d));
    for (let p = 0; p < 3; p++) for (let q = 0; q < 3; q++) {
      m[p][q] += d[p] * d[q];
    }
  }
  const v = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  for (let sweep = 0; sweep < 30; sweep++) {
    for (const [p, q] of [[0, 1], [0, 2], [1, 2]]) {
      if (Math.abs(m[p][q]) < 1e-12) continue;
      const theta = (m[q][q] - m[p][p]) / (2 * m[p][q]);
      const t = (theta >= 0 ? 1 : -1)
        / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
      const cos = 1 / Math.sqrt(t * t + 1), sin = t * cos;
      for (let k = 0; k < 3; k++) {
        [m[k][p], m[k][q]] = [cos * m[k][p] - sin * m[k][q],
          sin * m[k][p] + cos * m[k][q]];
      }
      for (let k = 0; k < 3; k++) {
        [m[p][k], m[q][k]] = [cos * m[p][k] - sin * m[q][k],
          sin * m[p][k] + cos * m[q][k]];
        [v[k][p], v[k][q]] = [cos * v[k][p] - sin * v[k][q],
          sin * v[k][p] + cos * v[k][q]];
      }
    }
  }
  const least = [0, 1, 2].reduce((a, b) => m[b][b] < m[a][a] ? b : a);
  return { centre: c, normal: [0, 1, 2].map(k => v[k][least]), radius };
}

function addDisc(view, plane, colour) {
  // A round patch in the plane, seen from both sides, with a rim of tubes,
  // which have their colour from wherever the light comes.
  const n = plane.normal;
  const other = Math.abs(n[0]) < 0.8 ? [1, 0, 0] : [0, 1, 0];
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1],
    a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const unit = a => a.map(v => v / Math.hypot(...a));
  const u = unit(cross(n, other)), w = cross(n, u);
  const point = (s, t) => { const p = [0, 1, 2].map(
    k => plane.centre[k] + s * u[k] + t * w[k]);
  return { x: p[0], y: p[1], z: p[2] }; };
  const steps = 48, r = plane.radius + 0.5;
  for (const side of [1, -1]) {
    const points = [point(0, 0)], faces = [];
    for (let i = 0; i < steps; i++) {
      const angle = side * 2 * Math.PI * i / steps;
      points.push(point(r * Math.cos(angle), r * Math.sin(angle)));
      faces.push(0, 1 + i, 1 + (i + 1) % steps);
    }
    view.addCustom({ vertexArr: points, faceArr: faces, color: colour,
      opacity: 0.5, normalArr: points.map(() => ({ x: side * n[0],
        y: side * n[1], z: side * n[2] })) });
    if (side < 0) continue;
    for (let i = 1; i <= steps; i++) {
      view.addCylinder({ start: points[i], end: points[1 + i % steps],
        radius: 0.07, color: colour, fromCap: 2, toCap: 2 });
    }
  }
}

class StructureView {
  constructor(card, structures, describe) {
    this.structures = structures; this.describe = describe;
    this.shown = { start: true, final: true, planes: true, hydrogens: false };
    this.row = null; this.view = null;
    this.build(card);
  }
  build(card) {
    const stage = element('div', { className: 'stage' });
    this.canvas = element('div', { className: 'canvas' });
    const side = element('div');
    const switches = element('div', { className: 'switches' });
    for (const name in this.shown) {
      const button = element('button', { textContent: name });
      button.setAttribute('aria-pressed', this.shown[name]);
      button.onclick = () => {
        this.shown[name] = !this.shown[name];
        button.setAttribute('aria-pressed', this.shown[name]);
        this.draw(false);
      };
      switches.append(button);
    }
    const moves = element('div', { className: 'switches' });
    moves.style.marginTop = '6px';
    for (const [text, step] of [['‹ back', -1], ['next ›', 1]]) {
      const button = element('button', { textContent: text });
      button.onclick = () => this.move(step);
      moves.append(button);
    }
    const picture = element('button', { textContent: 'PNG' });
    picture.onclick = () => save(`record_${this.row}.png`,
      this.view.pngURI());
    const xyz = element('button', { textContent: 'XYZ' });
    xyz.onclick = () => this.saveXyz();
    moves.append(picture, xyz);
    this.list = element('dl');
    side.append(switches, moves, this.list);
    stage.append(this.canvas, side);
    card.append(stage, element('p', { className: 'note', textContent:
      'Final geometry in colours, start in grey (laid over it); orange and '
      + 'blue: planes of the two chromophores that stack best. '
      + 'Coordinates are rounded to 0.001 Å.' }));
  }
  has(row) { return this.structures.places.has(row); }
  move(step) {
    const n = this.structures.records.length;
    const place = this.structures.places.get(this.row) + step;
    if (place >= 0 && place < n) this.open(this.structures.records[place][0]);
  }
  async open(row) {
    this.row = row;
    this.list.replaceChildren(...this.describe(row).flatMap(([k, v]) => [
      element('dt', { textContent: k }), element('dd', { textContent: v })]));
    try {
      this.one = await this.structures.get(row);
      if (!this.view) this.start();
      if (this.row === row) this.draw(true);
    } catch (error) {
      this.canvas.replaceChildren(element('p', { className: 'lost',
        textContent: `No 3D view here: ${error.message || error}` }));
      console.warn(error);
    }
  }
  start() {
    if (!window.$3Dmol) {
      const code = element('script');
      code.textContent = document.getElementById('library').textContent;
      document.head.append(code);
    }
    this.view = $3Dmol.createViewer(this.canvas,
      { backgroundColor: 'white', antialias: true });
    if (!this.view) throw new Error('this browser has no WebGL');
  }
  draw(fit) {
    if (!this.view || !this.one) return;
    const { view, one, shown } = this;
    view.removeAllModels();
    view.removeAllShapes();
    const both = one.ends[0] && one.ends[1];
    const add = (x, bond, atom) => {
      const model = view.addModel();
      model.addAtoms(atomsOf(one, x));
      model.setStyle({}, { stick: bond, ...atom });
      if (!shown.hydrogens) model.setStyle({ elem: 'H' }, {});
    };
    if (both && shown.start) {
      add(one.start, { radius: 0.07, color: '#b4bcc4' }, {});
    }
    if (shown.final || !both) {
      add(one.final, { radius: 0.13, colorscheme: 'Jmol' },
        { sphere: { scale: 0.2, colorscheme: 'Jmol' } });
    }
    const [a, b] = one.pair;
    if (shown.planes && a >= 0 && one.rings[a] && one.rings[b]) {
      const x = shown.final || !both ? one.final : one.start;
      addDisc(view, planeOf(x, one.rings[a]), '#f08c00');
      addDisc(view, planeOf(x, one.rings[b]), '#0a84ff');
      if (fit) this.turn(planeOf(x, one.rings[a]), planeOf(x, one.rings[b]));
    }
    if (fit) {
      view.zoomTo();
      view.rotate(14, 'x');
      view.zoom(1.05);
    }
    view.render();
    this.canvas.dataset.drawn = this.row;
  }
  turn(p, q) {
    // Look along the planes, their common normal upwards.
    const sign = p.normal.reduce((s, v, k) => s + v * q.normal[k], 0);
    const n = p.normal.map((v, k) => v + Math.sign(sign || 1) * q.normal[k]);
    const length = Math.hypot(...n) || 1;
    const [x, y, z] = n.map(v => v / length);
    // the turn that brings the normal onto the y axis, as a quaternion
    const w = 1 + y;
    const quat = w < 1e-6 ? [1, 0, 0, 0] : [-z, 0, x, w];
    const size = Math.hypot(...quat);
    const old = this.view.getView();
    this.view.setView([...old.slice(0, 4), ...quat.map(v => v / size)]);
  }
  saveXyz() {
    const { one } = this, x = one.ends[1] ? one.final : one.start;
    const lines = [one.numbers.length, `record ${this.row}`];
    one.numbers.forEach((z, i) => lines.push([SYMBOLS[z], ...[0, 1, 2].map(
      k => x[3 * i + k].toFixed(3))].join(' ')));
    saveText(`record_${this.row}.xyz`, lines.join('\n') + '\n',
      'chemical/x-xyz');
  }
}
