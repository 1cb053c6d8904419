import { join } from "node:path";

import { checkOptions } from "../../lib/embedded/options";
import { Folders } from "../../lib/embedded/folders";
import { Server } from "../../lib/embedded/server";

it("rejects when the program cannot be run at all", async () => {
  const folders = await Folders.create(checkOptions({}), undefined);
  const missing = join(folders.run, "missing");
  const binaries = { initdb: missing, postgres: missing, pgCtl: missing };
  const launched = Server.launch({ binaries, folders, account: undefined, port: 1, password: "", settings: {} });
  await expect(launched).rejects.toMatchObject({ failure: "start-failed", cause: { code: "ENOENT" } });
  await folders.remove();
});
