/** Throw if two values differ as JSON. */
export function equal(ours, wanted) {
    if (JSON.stringify(ours) !== JSON.stringify(wanted)) {
        throw new Error(`${JSON.stringify(ours)} is not ${JSON.stringify(wanted)}`);
    }
}
