// node labels.mjs < JSON list of file names: the label that the Hub's pages give each, or null.
import { parseGGUFQuantLabel } from "@huggingface/tasks";

let given = "";
for await (const part of process.stdin) given += part;
console.log(JSON.stringify(JSON.parse(given).map((name) => parseGGUFQuantLabel(name) ?? null)));
