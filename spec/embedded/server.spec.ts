import { join } from "node:path";
import { Account } from "../../lib/embedded/account";
import { Folders } from "../../lib/embedded/folders";
import { Watchdog } from "../../lib/embedded/process-end";
import { Server } from "../../lib/embedded/server";

it("rejects when the program cannot be run at all", async () => {
  const folders = await Folders.create(undefined, false, Account.own);
  const missing = join(folders.run, "missing");
  const programs = { initdb: missing, postgres: missing, pgCtl: missing };
  const watchdog = await Watchdog.start(folders.lockFile, folders.removable);
  const context = { programs, folders, account: Account.own, watchdog, deadline: AbortSignal.timeout(30_000) };
  const started = Server.start(context, "", 1, {});
  await expect(started).rejects.toMatchObject({ failure: "start-failed", cause: { code: "ENOENT" } });
  await folders.remove();
  await watchdog.close();
});
