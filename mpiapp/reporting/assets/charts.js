'use strict';
// Figures as SVG.  Each kind has draw(figure, choice) and csv(figure).
const SVG = 'http://www.w3.org/2000/svg';

function svg(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  return node;
}

function number(value, digits) {
  if (value === null || value === undefined || !isFinite(value)) return '';
  if (digits === -1) return String(Number(value.toPrecision(5)));
  if (digits !== undefined && digits !== null) {
    return value.toFixed(digits);
  }
  return String(Number(value.toPrecision(6)));
}

// with the digits that tell narrow bins apart
const exact = value => String(Number(value.toPrecision(12)));

function ticks(low, high, n) {
  if (!(high > low)) return [low];
  const raw = (high - low) / n;
  const power = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9;
    i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

class Plot {
  // A frame with axes: x and y map data to pixels.
  constructor(width, height, left, bottom) {
    this.w = width; this.h = height;
    this.left = left || 52; this.bottom = bottom || 40;
    this.right = 12; this.top = 8;
    this.node = svg('svg', { viewBox: `0 0 ${width} ${height}`,
      role: 'img', xmlns: SVG, 'font-family': 'Arial, sans-serif',
      'font-size': '11' });
  }
  scale(x0, x1, y0, y1) {
    const w = this.w - this.left - this.right;
    const h = this.h - this.top - this.bottom;
    this.x = v => this.left + w * (v - x0) / ((x1 - x0) || 1);
    this.y = v => this.top + h * (1 - (v - y0) / ((y1 - y0) || 1));
    this.range = [x0, x1, y0, y1];
  }
  add(name, attributes, text) {
    const node = svg(name, attributes, text);
    this.node.appendChild(node);
    return node;
  }
  line(x1, y1, x2, y2, colour, width) {
    this.add('line', { x1, y1, x2, y2, stroke: colour || '#dfe4e9',
      'stroke-width': width || 1 });
  }
  xAxis(label) {
    const base = this.h - this.bottom;
    const [x0, x1] = this.range;
    let values = ticks(x0, x1, 7);
    // long numbers would run into one another
    if (values.some(v => exact(v).length > 8)) values = ticks(x0, x1, 3);
    for (const v of values) {
      const x = this.x(v), text = exact(v);
      this.line(x, base, x, base + 4, '#8a96a1');
      // the last one must not be cut at the edge
      this.add('text', { x: Math.min(x, this.w - 3 - 3.1 * text.length),
        y: base + 15, 'text-anchor': 'middle' }, text);
    }
    this.line(this.left, base, this.w - this.right, base, '#8a96a1');
    this.add('text', { x: (this.left + this.w - this.right) / 2,
      y: this.h - 6, 'text-anchor': 'middle' }, label);
  }
  yAxis(label, form, isCount) {
    const [, , y0, y1] = this.range;
    for (const v of ticks(y0, y1, 5)) {
      if (isCount && !Number.isInteger(v)) continue;
      this.line(this.left, this.y(v), this.w - this.right, this.y(v));
      this.add('text', { x: this.left - 6, y: this.y(v) + 4,
        'text-anchor': 'end' }, form ? form(v) : number(v));
    }
    const y = (this.top + this.h - this.bottom) / 2;
    this.add('text', { x: 12, y, 'text-anchor': 'middle',
      transform: `rotate(-90 12 ${y})` }, label);
  }
}

function mark(node, tip, row) {
  node.dataset.tip = tip;
  if (row !== undefined && row !== null) {
    node.dataset.row = row;
    node.classList.add('mark');
  }
  return node;
}

const CHARTS = {};

CHARTS.Histogram = {
  keys: f => f.series.map(s => [s.label, s.colour]),
  draw(f) {
    const plot = new Plot(520, 250);
    const bins = f.series.map(s => s.values);
    const n = f.edges.length - 1;
    const top = Math.max(1, ...bins.map(b => Math.max(...b)));
    plot.scale(f.edges[0], f.edges[n], 0, top * 1.05);
    for (const [a, b, label] of f.bands || []) {
      const band = plot.add('rect', { x: plot.x(a), y: plot.top,
        width: plot.x(b) - plot.x(a), height: plot.h - plot.top - plot.bottom,
        fill: '#d55e00', opacity: 0.09 });
      mark(band, `${label}: ${a}-${b}`);
    }
    plot.yAxis('records', null, true);
    bins.forEach((b, k) => b.forEach((c, i) => {
      if (!c) return;
      mark(plot.add('rect', { x: plot.x(f.edges[i]) + 0.5, y: plot.y(c),
        width: Math.max(0.5, plot.x(f.edges[i + 1]) - plot.x(f.edges[i]) - 1),
        height: plot.y(0) - plot.y(c), fill: f.series[k].colour,
        opacity: f.series.length > 1 ? 0.62 : 0.9 }),
      `${f.series[k].label}: ${c} in ${exact(f.edges[i])} to `
      + exact(f.edges[i + 1]));
    }));
    plot.xAxis(f.x_label);
    return plot.node;
  },
  csv: f => [['from', 'to', ...f.series.map(s => s.label)],
    ...f.edges.slice(1).map((end, i) => [f.edges[i], end,
      ...f.series.map(s => s.values[i])])],
};

CHARTS.Scatter = {
  keys: f => f.legend.filter((_, i) => f.kinds.includes(i)),
  menu: f => new Set(f.groups).size > 1 ? [...new Set(f.groups)].sort() : [],
  draw(f, choice) {
    const plot = new Plot(520, 300);
    const shown = f.x.map((_, i) => i).filter(
      i => !choice || f.groups[i] === choice);
    const xs = shown.map(i => f.x[i]), ys = shown.map(i => f.y[i]);
    const span = v => {
      let low = v.reduce((a, b) => Math.min(a, b), Infinity);
      let high = v.reduce((a, b) => Math.max(a, b), -Infinity);
      if (!(high > low)) { low -= 0.5; high += 0.5; }
      const pad = 0.04 * (high - low);
      return [low - pad, high + pad];
    };
    let [x0, x1] = span(xs), [y0, y1] = span(ys);
    if (f.diagonal) {
      x0 = y0 = Math.min(x0, y0); x1 = y1 = Math.max(x1, y1);
    }
    plot.scale(x0, x1, y0, y1);
    plot.yAxis(f.y_label);
    if (f.diagonal) plot.line(plot.x(x0), plot.y(y0), plot.x(x1), plot.y(y1),
      '#8a96a1');
    for (const i of shown) {
      const name = f.groups.length ? `${f.groups[i]}\n` : '';
      mark(plot.add('circle', { cx: plot.x(f.x[i]).toFixed(1),
        cy: plot.y(f.y[i]).toFixed(1), r: shown.length > 1500 ? 2 : 3.2,
        fill: f.legend[f.kinds[i]][1],
        opacity: shown.length > 500 ? 0.55 : 0.8 }),
      `${name}${f.legend[f.kinds[i]][0]}\n${number(f.x[i])}, `
      + number(f.y[i]), f.rows.length ? f.rows[i] : undefined);
    }
    plot.xAxis(f.x_label);
    return plot.node;
  },
  csv: f => [['row', 'group', 'kind', f.x_label, f.y_label],
    ...f.x.map((_, i) => [f.rows.length ? f.rows[i] : '',
      f.groups.length ? f.groups[i] : '', f.legend[f.kinds[i]][0], f.x[i],
      f.y[i]])],
};

// dark blue to yellow by way of teal, in equal steps of lightness
const RAMP = [[240, 244, 248], [178, 212, 232], [92, 165, 205],
  [20, 110, 170], [8, 48, 107]];
function ramp(share) {
  const t = Math.max(0, Math.min(1, share)) * (RAMP.length - 1);
  const i = Math.min(RAMP.length - 2, Math.floor(t));
  return 'rgb(' + [0, 1, 2].map(k => Math.round(
    RAMP[i][k] + (t - i) * (RAMP[i + 1][k] - RAMP[i][k]))).join(',') + ')';
}

CHARTS.Heat = {
  keys: f => [[`0 to ${number(f.top)} ${f.unit}`,
    `linear-gradient(90deg, rgb(${RAMP[0]}), rgb(${RAMP[4]}))`]],
  wide: f => f.column_labels.length > 8,
  draw(f) {
    const longest = words => Math.max(...words.map(w => w.length), 1);
    const left = Math.min(200, 14 + 6.4 * longest(f.row_labels));
    const slant = longest(f.column_labels) > 6 || f.column_labels.length > 8;
    const bottom = slant ? Math.min(120, 16 + 4.6 * longest(f.column_labels))
      : 24;
    const width = f.column_labels.length > 8 ? 1060 : 520;
    const cell = Math.min(72, (width - left - 12) / f.column_labels.length);
    const height = Math.min(34, Math.max(18, cell));
    const plot = new Plot(width, 10 + height * f.row_labels.length + bottom,
      left, bottom);
    f.values.forEach((line, i) => line.forEach((v, j) => {
      const x = left + j * cell, y = 6 + i * height;
      const share = v === null ? 0 : v / f.top;
      const box = plot.add('rect', { x: x + 1, y: y + 1, width: cell - 2,
        height: height - 2, rx: 2,
        fill: v === null ? '#fff' : ramp(share),
        stroke: v === null ? '#e8ecf0' : 'none' });
      const note = f.notes.length ? `\n${f.notes[i][j]}` : '';
      mark(box, `${f.row_labels[i]}, ${f.column_labels[j]}: `
        + (v === null ? 'none' : `${number(v, f.digits)} ${f.unit}`) + note);
      if (v !== null && cell > 22) {
        plot.add('text', { x: x + cell / 2, y: y + height / 2 + 4,
          'text-anchor': 'middle', 'pointer-events': 'none',
          style: `fill:${share > 0.55 ? '#fff' : '#1c2733'}` },
        number(v, f.digits));
      }
    }));
    f.row_labels.forEach((w, i) => plot.add('text', { x: left - 6,
      y: 6 + (i + 0.5) * height + 4, 'text-anchor': 'end' }, w));
    f.column_labels.forEach((w, j) => {
      const x = left + (j + 0.5) * cell;
      const y = 12 + height * f.row_labels.length + 8;
      plot.add('text', slant
        ? { x, y, 'text-anchor': 'end', transform: `rotate(-40 ${x} ${y})` }
        : { x, y: y + 2, 'text-anchor': 'middle' }, w);
    });
    return plot.node;
  },
  csv: f => [['', ...f.column_labels],
    ...f.values.map((line, i) => [f.row_labels[i], ...line])],
};

CHARTS.Bars = {
  keys: f => f.series.length > 1 || f.stacked
    ? f.series.map(s => [s.label, s.colour]) : [],
  wide: f => f.labels.length > 12,
  draw(f) {
    const n = f.labels.length;
    const longest = Math.max(...f.labels.map(w => w.length), 1);
    const width = n > 12 ? 1060 : 520;
    const slant = longest * 6.2 > (width - 70) / n;
    const bottom = slant ? Math.min(130, 24 + 4.4 * longest) : 30;
    const plot = new Plot(width, 210 + bottom,
      slant ? Math.max(56, 4 + 4.6 * f.labels[0].length) : 56, bottom);
    const highs = f.labels.map((_, i) => {
      const ends = f.series.map(s => (s.values[i] || 0)
        + (s.errors.length ? s.errors[i] || 0 : 0));
      return f.stacked ? ends.reduce((a, b) => a + b, 0)
        : Math.max(...ends);
    });
    const top = Math.max(1e-12, ...highs);
    plot.scale(0, n, 0, top * 1.05);
    plot.yAxis(f.y_label, null, f.series.every(
      s => s.values.every(v => v === null || Number.isInteger(v))));
    // of many slanted labels some, or they would cover one another
    const step = slant ? Math.ceil(18 * n / (width - 70)) : 1;
    f.labels.forEach((label, i) => {
      const here = f.series.filter(s => s.values[i] !== null);
      const wide = f.stacked ? 0.8 : 0.8 / Math.max(1, here.length);
      let base = 0;
      here.forEach((s, k) => {
        const v = s.values[i], x = i + 0.1 + (f.stacked ? 0 : k * wide);
        const error = s.errors.length ? s.errors[i] : null;
        mark(plot.add('rect', { x: plot.x(x), y: plot.y(base + v),
          width: plot.x(x + wide * 0.94) - plot.x(x),
          height: Math.max(0, plot.y(base) - plot.y(base + v)),
          fill: s.colour, opacity: 0.88 }),
        `${label}\n${s.label}: ${number(v)}`
          + (error ? ` ± ${number(error)}` : ''));
        if (error) {
          const middle = plot.x(x + wide * 0.47);
          plot.line(middle, plot.y(Math.max(0, v - error)), middle,
            plot.y(v + error), '#1c2733');
        }
        if (f.stacked) base += v;
      });
      if (i % step) return;
      const x = plot.x(i + 0.5), y = plot.h - bottom + 14;
      plot.add('text', slant
        ? { x, y, 'text-anchor': 'end', transform: `rotate(-38 ${x} ${y})` }
        : { x, y, 'text-anchor': 'middle' }, label);
    });
    plot.line(plot.left, plot.y(0), plot.w - plot.right, plot.y(0),
      '#8a96a1');
    return plot.node;
  },
  csv: f => [['', ...f.series.flatMap(s => s.errors.length
    ? [s.label, `${s.label} error`] : [s.label])],
  ...f.labels.map((w, i) => [w, ...f.series.flatMap(s => s.errors.length
    ? [s.values[i], s.errors[i]] : [s.values[i]])])],
};

CHARTS.Lines = {
  keys: f => f.series.map(s => [s.label, s.colour]),
  draw(f) {
    const plot = new Plot(520, 270, 60);
    const map = v => f.log ? Math.log10(v) : v;
    const ok = v => v !== null && (!f.log || v > 0);
    const all = f.series.flatMap(s => s.values.filter(ok).map(map));
    const low = Math.min(...all), high = Math.max(...all);
    const pad = 0.05 * ((high - low) || 1);
    plot.scale(Math.min(...f.x), Math.max(...f.x), low - pad, high + pad);
    plot.yAxis(f.y_label, f.log ? v => number(Math.pow(10, v)) : null);
    for (const s of f.series) {
      const points = s.values.map((v, i) => [f.x[i], v])
        .filter(p => ok(p[1]));
      plot.add('polyline', { fill: 'none', stroke: s.colour,
        'stroke-width': 1.6, points: points.map(
          p => `${plot.x(p[0])},${plot.y(map(p[1]))}`).join(' ') });
      for (const p of points) {
        mark(plot.add('circle', { cx: plot.x(p[0]), cy: plot.y(map(p[1])),
          r: 2.6, fill: s.colour }),
        `${s.label}\n${number(p[0])}: ${number(p[1])}`);
      }
    }
    plot.xAxis(f.x_label);
    return plot.node;
  },
  csv: f => [[f.x_label, ...f.series.map(s => s.label)],
    ...f.x.map((x, i) => [x, ...f.series.map(s => s.values[i])])],
};

CHARTS.Gantt = {
  keys: f => f.legend,
  wide: () => true,
  draw(f) {
    const n = f.lanes.length;
    const lane = Math.max(5, Math.min(26, 420 / n));
    const plot = new Plot(1060, 60 + lane * n, 70, 44);
    const end = f.stop.reduce((a, b) => Math.max(a, b), 0);
    plot.scale(0, end || 1, n, 0);
    f.lanes.forEach((w, i) => {
      if (lane < 11 && i % Math.ceil(11 / lane)) return;
      plot.add('text', { x: plot.left - 6, y: plot.y(i + 0.5) + 4,
        'text-anchor': 'end' }, w);
    });
    f.start.forEach((a, i) => {
      const x = plot.x(a), w = Math.max(0.6, plot.x(f.stop[i]) - x - 0.4);
      mark(plot.add('rect', { x: x.toFixed(2), y: plot.y(f.lane[i]) + 1,
        width: w.toFixed(2), height: lane - 2, opacity: 0.8,
        fill: f.legend[f.kinds[i]][1] }),
      `record ${f.rows[i]}: ${f.legend[f.kinds[i]][0]}\n`
        + `${number(f.stop[i] - a, 2)} s, from ${number(a, 1)} s`, f.rows[i]);
    });
    plot.xAxis(f.x_label);
    return plot.node;
  },
  csv: f => [['row', 'lane', 'start', 'stop', 'kind'],
    ...f.start.map((a, i) => [f.rows[i], f.lanes[f.lane[i]], a, f.stop[i],
      f.legend[f.kinds[i]][0]])],
};
