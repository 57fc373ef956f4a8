// node hub.mjs < {"url", "token"}: a repository from its making to its end, as JSON of what was seen.
import * as hf from "@huggingface/hub";

let given = "";
for await (const part of process.stdin) given += part;
const { url: hubUrl, token: accessToken } = JSON.parse(given);
const repo = "alice/model";
const at = { hubUrl, accessToken, repo };
const text = async (blob) => (blob === null ? null : await blob.text());
const all = async (rows) => {
  const found = [];
  for await (const row of rows) found.push(row);
  return found;
};
const seen = {};

seen.who = (await hf.whoAmI(at)).name;
seen.before = await hf.repoExists(at);
const first = [{ path: "first.txt", content: new Blob(["first"]) }];
seen.made = await hf.createRepo({ ...at, visibility: "private", license: "mit", files: first });
seen.exists = await hf.repoExists(at);
const large = new Uint8Array(3_000_000).map((_, place) => (place * 7) % 251);
const files = [
  { path: "model.gguf", content: new Blob([large]) },
  { path: "deep/er/a b.txt", content: new Blob(["0123456789"]) },
  { path: "empty.txt", content: new Blob([]) },
];
seen.commit = (await hf.uploadFiles({ ...at, files, commitTitle: "files", useXet: false })).commit;
seen.files = (await all(hf.listFiles({ ...at, recursive: true }))).map((row) => row.path);
seen.paths = (await hf.pathsInfo({ ...at, paths: ["model.gguf", "no", "deep"], expand: true })).map(
  (row) => [row.path, row.type, row.size, row.lfs?.oid ?? null, row.lastCommit.title],
);
seen.text = await text(await hf.downloadFile({ ...at, path: "deep/er/a b.txt" }));
seen.empty = await text(await hf.downloadFile({ ...at, path: "empty.txt" }));
seen.absent = await hf.downloadFile({ ...at, path: "no.txt" });
const blob = await hf.downloadFile({ ...at, path: "model.gguf" });
seen.size = blob.size;
seen.range = [...new Uint8Array(await blob.slice(1_000_000, 1_000_004).arrayBuffer())];
seen.same = Buffer.compare(Buffer.from(await blob.arrayBuffer()), Buffer.from(large)) === 0;
seen.pointer = await text(await hf.downloadFile({ ...at, path: "model.gguf", raw: true }));
seen.there = await hf.fileExists({ ...at, path: "first.txt" });

const branch = "new/branch";
await hf.createBranch({ ...at, branch });
seen.taken = await hf.createBranch({ ...at, branch }).then(
  () => null,
  (error) => error.statusCode,
);
await hf.createBranch({ ...at, branch, overwrite: true });
await hf.deleteFile({ ...at, branch, path: "first.txt" });
seen.onBranch = (await all(hf.listFiles({ ...at, revision: branch }))).map((row) => row.path);
seen.ofBranch = await text(await hf.downloadFile({ ...at, revision: branch, path: "README.md" }));
seen.counts = [await hf.countCommits(at), await hf.countCommits({ ...at, revision: branch })];
seen.titles = (await all(hf.listCommits({ ...at, batchSize: 1 }))).map((row) => row.title);
await hf.deleteBranch({ ...at, branch });
const pull = await hf.uploadFile({
  ...at,
  file: { path: "asked.txt", content: new Blob(["asked"]) },
  isPullRequest: true,
  useXet: false,
});
seen.pull = pull.pullRequestUrl;
seen.model = await hf.modelInfo({ hubUrl, accessToken, name: repo, additionalFields: ["sha", "tags"] });
seen.listed = (await all(hf.listModels({ hubUrl, accessToken, search: { owner: "alice" } }))).map(
  (row) => row.name,
);
await hf.deleteRepo(at);
seen.after = await hf.repoExists(at);
console.log(JSON.stringify(seen));
