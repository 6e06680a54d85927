// Reads the text of /metrics, and what has happened between two readings of it.

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const OWN_ROUTES = ["/metrics", "/healthz", "/readyz"];

/** The samples of a text in the format of Prometheus: `{name, labels, value}`. */
function samplesOf(text) {
    return text.split("\n").flatMap((line) => {
        const found = LINE.exec(line);
        if (!found) return [];
        const labels = Object.fromEntries(
            [...(found[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]),
        );
        return [{name: found[1], labels, value: Number(found[3])}];
    });
}

/** A reading: the counters that the plots need. The page's own questions for metrics and health are left out. */
export function readingOf(text) {
    const samples = samplesOf(text);
    const isOthers = ({labels}) => !OWN_ROUTES.includes(labels.route);
    const sum = (name, accept = () => true) =>
        samples.filter((sample) => sample.name === name && accept(sample)).reduce((total, {value}) => total + value, 0);
    const bounds = new Map();
    for (const {name, labels, value} of samples) {
        if (name !== "route_api_request_seconds_bucket" || !isOthers({labels})) continue;
        bounds.set(labels.le, (bounds.get(labels.le) ?? 0) + value);
    }
    return {
        requests: sum("route_api_requests_total", isOthers),
        failures: sum("route_api_requests_total", (sample) => isOthers(sample) && sample.labels.status >= 500),
        buckets: [...bounds]
            .map(([le, count]) => [le === "+Inf" ? Infinity : Number(le), count])
            .sort(([a], [b]) => a - b),
        streams: sum("route_api_open_streams"),
        turns: sum("route_api_running_turns"),
        tokens: sum("route_api_stream_tokens_total"),
    };
}

/** The share `part` of the requests between two readings took at most this many seconds; null without requests. */
export function quantile(part, before, now) {
    const counted = now.buckets.map(([bound, count]) => [
        bound,
        count - (before.buckets.find(([other]) => other === bound)?.[1] ?? 0),
    ]);
    const all = counted.at(-1)?.[1] ?? 0;
    if (all <= 0) return null;
    let lower = 0;
    let below = 0;
    for (const [bound, count] of counted) {
        if (count >= part * all) {
            if (bound === Infinity) return lower;
            return lower + (bound - lower) * ((part * all - below) / Math.max(1, count - below));
        }
        [lower, below] = [bound, count];
    }
    return lower;
}
