import { execFile } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { tempFolder } from "./support/temp-folder";

const repository = resolve(__dirname, "../..");
const fixture = join(repository, "spec/embedded/fixtures/quick-start.ts");

/** Runs the quick start in a process with changed variables (undefined: unset); gives what it printed. */
async function quickStart(changes: NodeJS.ProcessEnv): Promise<string> {
  const env = { ...process.env, TSX_DISABLE_CACHE: "1", ...changes };
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", fixture], {
    cwd: repository,
    env,
  });
  return stdout;
}

describe("the quick start works", () => {
  it.each<[string, NodeJS.ProcessEnv]>([
    ["with PGSSLMODE=require", { PGSSLMODE: "require", PGOPTIONS: "-c default_transaction_read_only=on" }],
    [
      "with every other variable of another server",
      {
        PGSSLMODE: "verify-full",
        PGSSLNEGOTIATION: "direct",
        PGOPTIONS: "-c no_such_setting=1",
        PGHOST: "db.example.com",
        PGHOSTADDR: "192.0.2.1",
        PGPORT: "1",
        PGUSER: "somebody",
        PGPASSWORD: "wrong",
        PGDATABASE: "elsewhere",
        PGSERVICE: "missing",
        PGPASSFILE: "/missing",
        PGSYSCONFDIR: "/missing",
        PGDATA: "/missing",
        PGTZ: "No/Such_Zone",
        PGDATESTYLE: "German",
      },
    ],
    [
      "with a locale and a time zone that are not installed, and without HOME and USER",
      { LC_ALL: "xx_XX.ISO-8859-1", LANG: "xx_XX", TZ: "No/Such_Zone", HOME: undefined, USER: undefined },
    ],
    ["with a TMPDIR and a HOME that are missing", { TMPDIR: "/missing/folder", HOME: "/missing" }],
    ["with a TMPDIR that cannot be written", { TMPDIR: "/proc" }],
  ])("%s", async (_name, changes) => {
    expect(await quickStart(changes)).toBe('{"sent":true}');
  });

  it("with a TMPDIR that is relative, and has spaces, quotes and umlauts in its name", async () => {
    const folder = join(tempFolder(), `it's "a" f\u00f6lder $HOME`);
    mkdirSync(folder, { mode: 0o755 });
    expect(await quickStart({ TMPDIR: relative(repository, folder) })).toBe('{"sent":true}');
    expect(readdirSync(folder).filter((name) => name.startsWith("kojin-postgres-"))).toEqual([]);
  });
});
