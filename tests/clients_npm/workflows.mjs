// What GitHub's own code says of workflow files: [{name, content}] on stdin, mistakes by name.
import { register } from "node:module";
import { readFileSync } from "node:fs";

// the packages import JSON without saying so, which bundlers take and node does not
const hook = `
import { readFileSync } from "node:fs";
export async function load(url, context, next) {
  if (!url.endsWith(".json")) return next(url, context);
  const source = "export default " + readFileSync(new URL(url), "utf8");
  return { format: "module", source, shortCircuit: true };
}`;
register("data:text/javascript," + encodeURIComponent(hook));

const { parseWorkflow, NoOperationTraceWriter, convertWorkflowTemplate } = await import(
  "@actions/workflow-parser"
);
const { validate } = await import("@actions/languageservice");
const { TextDocument } = await import("vscode-languageserver-textdocument");

const found = {};
for (const { name, content } of JSON.parse(readFileSync(0, "utf8"))) {
  const parsed = parseWorkflow({ name, content }, new NoOperationTraceWriter());
  const mistakes = parsed.context.errors.getErrors().map((error) => error.message);
  const template = parsed.value && (await convertWorkflowTemplate(parsed.context, parsed.value));
  for (const error of template?.errors ?? []) mistakes.push(error.Message);
  const document = TextDocument.create("file:///.github/workflows/" + name, "yaml", 1, content);
  for (const told of await validate(document)) {
    mistakes.push(`${told.range.start.line + 1}: ${told.message}`);
  }
  found[name] = { mistakes, jobs: (template?.jobs ?? []).map((job) => String(job.id)) };
}
console.log(JSON.stringify(found));
