// node gguf_header.mjs FILE_OR_URL: what the Hub's own code reads of a GGUF file, as JSON.
import { GGMLQuantizationType, gguf } from "@huggingface/gguf";

const found = await gguf(process.argv[2], {
  allowLocalFile: true,
  computeParametersCount: true,
  typedMetadata: true,
});
const plain = (_key, value) => (typeof value === "bigint" ? Number(value) : value);
const short = ([, value]) => !Array.isArray(value);
console.log(
  JSON.stringify(
    {
      keys: Object.fromEntries(Object.entries(found.metadata).filter(short)),
      tensors: found.tensorInfos.map((tensor) => [
        tensor.name,
        tensor.shape,
        GGMLQuantizationType[tensor.dtype],
      ]),
      data_offset: found.tensorDataOffset,
      parameters: found.parameterCount,
    },
    plain,
  ),
);
