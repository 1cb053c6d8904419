import { dirname } from "node:path";
import { loadOptional, packageFolders } from "../lib/optional-packages";

describe("optional packages", () => {
  it("are looked for in several folders", () => {
    expect(loadOptional("@opentelemetry/api", ["/", "/tmp"])).toBeUndefined();
    expect(loadOptional("@opentelemetry/api", ["/", __dirname])).toHaveProperty("trace");
  });

  it("are looked for beside this package, in the working directory, and beside the program", () => {
    const [own = "", ...others] = packageFolders();
    expect(require.resolve("../lib/optional-packages")).toContain(own);
    expect(others).toEqual([process.cwd(), dirname(process.argv[1] ?? "")]);
  });
});
