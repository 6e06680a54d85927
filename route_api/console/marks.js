// Marks the words of a question in a passage. The passage stays text.

import {el} from "./dom.js";

const WORDS = /[\p{L}\p{N}]+/gu;
const WITHOUT_BLANKS = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u;

/** What to look for: whole words, and of a script without blanks between words, all pairs of neighbours. */
function wordsOf(question) {
    const words = (question.toLowerCase().match(WORDS) ?? []).flatMap((word) => {
        if (word.length < 3 || !WITHOUT_BLANKS.test(word)) return [word];
        return Array.from({length: word.length - 1}, (_, at) => word.slice(at, at + 2));
    });
    const long = words.filter((word) => word.length > 1);
    return [...new Set(long.length ? long : words)];
}

/** A text as nodes, with what the question has too in a `mark`. */
export function markedText(text, question) {
    const lower = text.toLowerCase();
    if (lower.length !== text.length) return [text]; // Some letters become two, and the positions would not fit.
    const isMarked = new Uint8Array(text.length);
    for (const word of wordsOf(question)) {
        for (let at = lower.indexOf(word); at >= 0; at = lower.indexOf(word, at + 1))
            isMarked.fill(1, at, at + word.length);
    }
    const nodes = [];
    for (let begin = 0, end = 0; begin < text.length; begin = end) {
        while (end < text.length && isMarked[end] === isMarked[begin]) end++;
        const piece = text.slice(begin, end);
        nodes.push(isMarked[begin] ? el("mark", {}, piece) : piece);
    }
    return nodes;
}
