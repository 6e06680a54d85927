// Pictures of numbers: a histogram of scores, and lines over time.

import {el, svg} from "./dom.js";
import {number, t} from "./i18n.js";

const BINS = 20;
const WIDTH = 400;
const HEIGHT = 90;
const FEWEST_POINTS = 10;

/** The scores from 0 to 1 in bins, with a line at the threshold. */
export function histogram(scores, threshold, label) {
    const bins = Array(BINS).fill(0);
    for (const score of scores) bins[Math.max(0, Math.min(BINS - 1, Math.floor(score * BINS)))]++;
    const most = Math.max(...bins, 1);
    const width = WIDTH / BINS;
    const bars = bins.map((count, bin) =>
        svg("rect", {
            x: bin * width + 1,
            width: width - 2,
            y: HEIGHT - (count / most) * HEIGHT,
            height: (count / most) * HEIGHT,
            rx: 2,
            class: (bin + 1) / BINS <= threshold ? "bar below" : "bar",
        }),
    );
    const line = svg("line", {x1: threshold * WIDTH, x2: threshold * WIDTH, y1: -4, y2: HEIGHT, class: "threshold"});
    const base = svg("line", {x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT, class: "axis"});
    const marks = [0, 0.25, 0.5, 0.75, 1].map((at) => {
        const anchor = at === 0 ? "start" : at === 1 ? "end" : "middle";
        const mark = svg("text", {x: at * WIDTH, y: HEIGHT + 14, "text-anchor": anchor});
        mark.textContent = number(at);
        return mark;
    });
    const above = scores.filter((score) => score >= threshold).length;
    const values = {above: number(above), all: number(scores.length), threshold: number(threshold)};
    const words = `${label}: ${t("search.histogram.words", values)}`;
    const picture = svg(
        "svg",
        {viewBox: `0 -6 ${WIDTH} ${HEIGHT + 24}`, class: "histogram", role: "img", "aria-label": words},
        ...bars,
        base,
        line,
        ...marks,
    );
    return el("figure", {}, picture, el("figcaption.muted.small", {}, words));
}

/** A line over time, with its last value in words. */
export class LinePlot {
    /**
     * @param {string} title
     * @param {Function} format writes a value
     * @param {number} points how many values are shown
     */
    constructor(title, format, points = 90) {
        Object.assign(this, {title, format, points});
        this.values = [];
        this.line = svg("polyline", {class: "line"});
        this.area = svg("polygon", {class: "area"});
        this.last = el("strong.figure", {}, "–");
        this.most = el("span.muted.small");
        this.picture = svg(
            "svg",
            {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "plot", role: "img"},
            this.area,
            this.line,
        );
        this.node = el(
            "section.card.plot-card",
            {"aria-label": title},
            el("header", {}, el("h3", {}, title), this.most),
            this.last,
            this.picture,
        );
        this.draw();
    }

    /** @param {number | null} value null: nothing was measured */
    add(value) {
        this.values = [...this.values, value].slice(-this.points);
        this.draw();
    }

    draw() {
        const known = this.values.filter((value) => value !== null);
        const most = Math.max(...known, 1e-9) * 1.1;
        const step = WIDTH / Math.max(this.values.length - 1, FEWEST_POINTS);
        const at = this.values.flatMap((value, n) =>
            value === null ? [] : [[n * step, HEIGHT - (value / most) * (HEIGHT - 6)]],
        );
        const text = at.map((point) => point.map((value) => value.toFixed(1)).join(",")).join(" ");
        this.line.setAttribute("points", text);
        this.area.setAttribute(
            "points",
            at.length ? `${at[0][0].toFixed(1)},${HEIGHT} ${text} ${at.at(-1)[0].toFixed(1)},${HEIGHT}` : "",
        );
        this.last.textContent = known.length ? this.format(known.at(-1)) : "–";
        this.most.textContent = known.length ? t("status.most", {value: this.format(Math.max(...known))}) : "";
        this.picture.setAttribute("aria-label", `${this.title}: ${this.last.textContent}`);
    }
}
