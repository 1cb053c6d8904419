import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { startProgram } from "./support/start-program";

describe("the program as a process", () => {
  const database = specDatabase("cli process");
  const inSchema = ["--schema", database.schema];

  it("ends a watch with 0 at Ctrl-C, and leaves nothing connected", async () => {
    const { child, exit, stdout, stderr } = startProgram(["watch", ...inSchema], { DATABASE_URL: database.url });
    await eventually(() => expect(stdout()).toContain("listening"), { timeoutMs: 20_000 });
    child.kill("SIGINT");
    expect(await exit).toEqual([0, null]);
    expect(stderr()).toBe("");
    await eventually(async () => expect(await database.connections()).toEqual([]));
  });

  it("ends a wait with 130 at Ctrl-C", async () => {
    const args = ["wait", "never", "--timeout", "never", ...inSchema];
    const { child, exit, stderr } = startProgram(args, { DATABASE_URL: database.url });
    await eventually(async () => expect(await database.listeners()).toHaveLength(1), { timeoutMs: 20_000 });
    child.kill("SIGINT");
    expect(await exit).toEqual([130, null]);
    expect(stderr()).toBe("Interrupted.\n");
  });

  it("ends without a word once its output is no longer read", async () => {
    const args = ["watch", "--every", "100ms", ...inSchema];
    const { child, exit, stdout, stderr } = startProgram(args, { DATABASE_URL: database.url });
    await eventually(() => expect(stdout()).toContain("listening"), { timeoutMs: 20_000 });
    child.stdout?.destroy();
    expect(await exit).toEqual([0, null]);
    expect(stderr()).toBe("");
  });
});
