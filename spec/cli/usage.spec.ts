import { readFileSync } from "node:fs";
import { join } from "node:path";
import { exitCodes } from "../../lib/cli/exit-codes";
import { type CliRun, startCli } from "./support/run-cli";

const run = async (args: string[], env: Record<string, string> = {}): Promise<CliRun> => startCli(args, { env }).done;
const commands = [
  "migrate",
  "status",
  "doctor",
  "store",
  "get",
  "list",
  "wait",
  "chunks",
  "delete",
  "group",
  "groups",
  "watch",
  "prune",
  "attach",
  "detach",
  "dashboard",
  "relay",
  "demo",
];
const documentation = readFileSync(join(__dirname, "..", "..", "docs", "cli.md"), "utf8");

describe("the command line", () => {
  it("prints its version, and its help with all commands and exit codes", async () => {
    const { version } = JSON.parse(readFileSync(join(__dirname, "..", "..", "package.json"), "utf8")) as {
      version: string;
    };
    expect(await run(["--version"])).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: "" });
    const { exitCode, stdout, stderr } = await run(["--help"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command} `, "m"));
    for (const code of Object.values(exitCodes)) expect(stdout).toMatch(new RegExp(`^  ${code}  `, "m"));
  });

  it.each(commands)("has examples, the global options and the exit codes in the help of %s", async (command) => {
    const { exitCode, stdout } = await run([command, "--help"]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`$ kojin-postgres ${command}`);
    for (const words of ["--url", "--json", "Exit codes:"]) expect(stdout).toContain(words);
    expect((await run(["help", command])).stdout).toBe(stdout);
  });

  it.each(commands)("documents %s and its options in docs/cli.md", async (command) => {
    expect(documentation).toContain(`## ${command}`);
    const { stdout } = await run([command, "--help"]);
    const options = [...stdout.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(([, option = ""]) => option);
    expect(options.length).toBeGreaterThan(5);
    expect(options.filter((option) => !documentation.includes(option))).toEqual([]);
  });

  it("documents each exit code in docs/cli.md", () => {
    for (const code of Object.values(exitCodes)) expect(documentation).toMatch(new RegExp(`^\\| ${code} \\|`, "m"));
  });

  it.each([
    [["unknown"], "unknown command"],
    [["stauts"], "Did you mean status?"],
    [["status", "--colour"], "unknown option"],
    [["get"], "missing required argument 'id'"],
    [["get", ""], "got an empty string"],
    [["get", "x".repeat(513)], "at most 512 bytes"],
    [["wait", "t", "--timeout", "soon"], "Expected a duration"],
    [["wait", "t", "--timeout", "-1"], "Expected a duration"],
    [["store", "t", "1", "--ttl", "0"], "above 0"],
    [["store", "t", "{"], "not JSON"],
    [["prune", "--batch", "0"], "whole number from 1 to 100000"],
    [["wait", "t", "--timeout", "9".repeat(50)], "Expected a duration"],
    [["prune", "--older-than", "never"], "Infinity"],
    [["migrate", "--lock-wait", "never"], "Infinity"],
    [["attach", "pg-boss", "--lock-wait", "never"], "Infinity"],
    [["detach", "pg-boss", "--lock-wait", "never"], "Infinity"],
    [["chunks", "x", "--after", "9999999999-1"], "Expected an attempt from 1 to"],
    [["status", "--schema", "x".repeat(64)], "1 to 63 bytes"],
    [["status", "--url", "mysql://root:hunter22@localhost/x"], "expected an address such as postgres://"],
    [["status"], "set DATABASE_URL or pass --url"],
    [["watch", "--no-results", "--no-groups", "--url", "postgres://x"], "nothing to watch"],
    [["demo", "--url", "postgres://x"], "takes no --url"],
    [["demo", "--notifier", "nats"], "takes no NATS"],
    [["dashboard", "--port", "70000"], "Expected a whole number from 0 to 65535"],
    [["relay", "--nats-shards", "many"], "Expected a whole number from 1 to 4096"],
    [[], "Usage: kojin-postgres"],
  ])("ends with 2, and says why, for %j", async (args, words) => {
    const { exitCode, stdout, stderr } = await run(args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain(words);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stderr).not.toContain("hunter22");
  });

  it("gives errors as an object, too", async () => {
    for (const args of [["unknown"], ["get", ""], ["status"]]) {
      const { stderr, stdout } = await run([...args, "--json"]);
      expect(stdout).toBe("");
      expect(JSON.parse(stderr)).toMatchObject({ error: { name: "UsageError", code: "USAGE", exitCode: 2 } });
    }
  });
});

describe("an address", () => {
  const password = "s3cr%65t-W0rd";
  const address = `postgres://somebody:${password}@127.0.0.1:1/app?password=other-Secret`;

  it.each([["--debug"], ["--json"], ["--json", "--debug"], []])(
    "that leads nowhere ends with 6, and its password is not shown (%j)",
    async (...options) => {
      for (const env of [{}, { DATABASE_URL: address }]) {
        const given = "DATABASE_URL" in env ? [] : ["--url", address];
        const { exitCode, stdout, stderr } = await run(["get", "t", ...options, ...given], env);
        expect({ exitCode, stdout }).toEqual({ exitCode: 6, stdout: "" });
        expect(stderr).toContain("ECONNREFUSED");
        for (const secret of [password, decodeURIComponent(password), "other-Secret"])
          expect(stderr).not.toContain(secret);
        if (options.length === 0) expect(stderr.trim().split("\n")).toHaveLength(1);
      }
    },
  );
});
