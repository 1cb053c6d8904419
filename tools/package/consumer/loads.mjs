// Both module systems export the same names and the very same functions.
import assert from "node:assert/strict";

import required from "./required.cjs";

// Names that Node adds to an imported CommonJS module.
const added = ["default", "module.exports", "__esModule"];

for (const [entryPoint, expected] of Object.entries(JSON.parse(process.argv[2]))) {
  const imported = await import(entryPoint);
  const names = Object.keys(imported).filter((name) => !added.includes(name));
  assert.deepEqual(names.sort(), expected.sort(), `names that can be imported from ${entryPoint}`);
  assert.deepEqual(Object.keys(required[entryPoint]).sort(), expected, `names that can be required from ${entryPoint}`);
  for (const name of expected) {
    assert.equal(typeof imported[name], "function", `${entryPoint}: ${name}`);
    assert.equal(
      imported[name],
      required[entryPoint][name],
      `${entryPoint}: ${name} is not the same for import and require`,
    );
  }
}
