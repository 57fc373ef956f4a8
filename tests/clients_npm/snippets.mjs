// node snippets.mjs < [[repository, file], …]: the commands of the Hub's own page, by program.
import { LOCAL_APPS } from "@huggingface/tasks";

const programs = ["llama.cpp", "ollama", "localai"];
let given = "";
for await (const part of process.stdin) given += part;
const text = (made) =>
  (Array.isArray(made) ? made : [made])
    .map((one) => (typeof one === "string" ? one : [].concat(one.content).join("\n")))
    .join("\n");
const commands = JSON.parse(given).map(([id, file]) =>
  Object.fromEntries(
    programs.map((name) => [
      name,
      text(LOCAL_APPS[name].snippet({ id, tags: ["gguf"], gguf: {}, library_name: "gguf" }, file)),
    ]),
  ),
);
console.log(JSON.stringify(commands));
