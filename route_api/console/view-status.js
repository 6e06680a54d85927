// The state of the gateway: ready or not, what Dify can do, its models, and live plots of the metrics.

import {call, data, wasAborted} from "./api.js";
import {button, el, fill, pause} from "./dom.js";
import {dateTime, number, t} from "./i18n.js";
import {quantile, readingOf} from "./metrics.js";
import {LinePlot} from "./plot.js";
import {badge, codeButton, errorBox, loading, pageHead} from "./widgets.js";

const READ_MS = 2000;
const STATE_KINDS = {works: "ok", missing: "bad", optional: "off", unknown: "warn"};
/** How a proxy hides `/metrics`; the gateway's own refusal is `forbidden`. */
const HIDDEN = [403, 404];
const MODEL_TYPES = ["llm", "text-embedding", "rerank"];

export function showStatus(view) {
    const aborting = new AbortController();
    const {signal} = aborting;
    const readiness = el("div.stack");
    const check = el("div.stack");
    const models = el("div.stack");
    const plots = el("div.stack");
    const version = el("strong", {}, "…");
    view.append(
        pageHead(t("nav.status"), {
            actions: [codeButton(() => ["readyz", "difyCheck", "llmMyLlms", "metrics"].map((name) => ({name})))],
        }),
        readiness,
        section(t("status.live"), plots),
        section(t("status.check"), check),
        section(t("status.models"), models),
    );
    showReadiness(readiness, version, signal);
    showCheck(check, version, signal);
    showModels(models, signal);
    plot(plots, signal);
    return () => aborting.abort();
}

function section(title, body) {
    return el("section.stack", {"aria-label": title}, el("h2", {}, title), body);
}

/** Show what `load` makes, or its error with a way to try again. */
async function show(node, signal, load, explain = () => null) {
    fill(node, loading());
    try {
        fill(node, ...(await load()));
    } catch (error) {
        if (wasAborted(error)) return;
        const reason = explain(error);
        fill(
            node,
            reason
                ? el("p.notice", {role: "status"}, reason)
                : errorBox(error, () => show(node, signal, load, explain)),
        );
    }
}

function showReadiness(node, version, signal) {
    return show(node, signal, async () => {
        let ready = null;
        let message = "";
        try {
            const answer = await call("readyz", {}, {signal});
            [ready, message] = [answer.data, answer.message === "success" ? "" : answer.message];
        } catch (error) {
            if (!error.data) throw error;
            [ready, message] = [error.data, error.message];
        }
        const parts = Object.entries(ready).map(([part, state]) =>
            el(
                "div.card.tile",
                {},
                el("span.muted", {}, t(`status.${part}`)),
                badge(state === "ok" ? "ok" : "bad", t(state === "ok" ? "status.ok" : "status.failed")),
            ),
        );
        const tile = el("div.card.tile", {}, el("span.muted", {}, t("status.version")), version);
        return [el("div.tiles", {}, ...parts, tile), message ? el("p.notice", {role: "status"}, message) : null];
    });
}

async function showCheck(node, version, signal) {
    version.textContent = "…";
    await show(
        node,
        signal,
        async () => {
            const {findings, works, checked_at: at} = await data("difyCheck", {}, {signal});
            const found = findings.find(({capability}) => capability === "Dify")?.text ?? "";
            version.textContent = /\d+(\.\d+)+/.exec(found)?.[0] ?? t("status.unknown");
            const again = button(t("status.again"), () => showCheck(node, version, signal), {
                icon: "retry",
                kind: "small",
            });
            return [
                el(
                    "div.toolbar",
                    {},
                    badge(works ? "ok" : "bad", t(works ? "status.works" : "status.lacks")),
                    el("span.muted.grow", {}, t("status.checkedAt", {time: dateTime(at)})),
                    again,
                ),
                el("p.hint", {}, t("status.check.text")),
                el("ul.findings", {}, ...findings.map(finding)),
            ];
        },
        whyForbidden,
    );
    if (version.textContent === "…") version.textContent = t("status.unknown"); // Only the check would tell it.
}

function finding({capability, state, text, remedy}) {
    return el(
        "li",
        {},
        badge(STATE_KINDS[state], t(`finding.${state}`)),
        el(
            "div.grow",
            {},
            el("strong", {}, capability),
            el("p", {}, text),
            remedy ? el("p.remedy", {}, `→ ${remedy}`) : null,
        ),
    );
}

function showModels(node, signal) {
    return show(node, signal, async () => {
        const found = await Promise.all(MODEL_TYPES.map((type) => data("llmMyLlms", {model_type: type}, {signal})));
        return [el("div.tiles", {}, ...MODEL_TYPES.map((type, at) => modelsOf(type, found[at])))];
    });
}

function modelsOf(type, providers) {
    const names = providers.flatMap(({provider, models}) =>
        models.map((model) => el("li", {}, el("strong", {}, model.model), " ", el("span.muted.small", {}, provider))),
    );
    return el(
        "section.card",
        {},
        el("h3", {}, t(`models.${type}`)),
        names.length ? el("ul.plain", {}, ...names) : el("p.muted", {}, t("models.none")),
    );
}

function whyForbidden(error) {
    return error.code === "forbidden" ? t("status.forbidden") : null;
}

/** Read the metrics again and again, and draw what has happened in between. */
async function plot(node, signal) {
    const seconds = (value) => t("seconds", {value: number(value, {maximumSignificantDigits: 2})});
    const rate = (value) => t("perSecond", {value: number(value, {maximumFractionDigits: 1})});
    const plots = {
        requests: new LinePlot(t("status.requests"), rate),
        median: new LinePlot(t("status.median"), seconds),
        slow: new LinePlot(t("status.slow"), seconds),
        streams: new LinePlot(t("status.streams"), number),
        tokens: new LinePlot(t("status.tokens"), rate),
        failures: new LinePlot(t("status.failures"), rate),
    };
    const place = el("div");
    fill(node, place, el("div.plots", {}, ...Object.values(plots).map((each) => each.node)));
    let before = null;
    while (!signal.aborted) {
        try {
            const now = {at: performance.now(), ...readingOf(await call("metrics", {}, {signal}))};
            fill(place);
            if (before) {
                const perSecond = (name) => Math.max(0, now[name] - before[name]) / ((now.at - before.at) / 1000);
                for (const name of ["requests", "tokens", "failures"]) plots[name].add(perSecond(name));
                plots.median.add(quantile(0.5, before, now));
                plots.slow.add(quantile(0.95, before, now));
            }
            plots.streams.add(now.streams);
            before = now;
        } catch (error) {
            if (wasAborted(error)) return;
            const isHidden = error.code === "route_not_found" || HIDDEN.includes(error.status);
            const reason = whyForbidden(error) ?? (isHidden ? t("status.metricsHidden") : null);
            if (reason) return fill(node, el("p.notice", {role: "status"}, reason));
            fill(place, errorBox(error));
        }
        await pause(READ_MS, signal).catch(() => null);
    }
}
