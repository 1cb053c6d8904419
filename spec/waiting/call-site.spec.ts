import { readFileSync } from "node:fs";
import { MemoryResultBackend, type ResultBackend } from "kojin-postgres";
import { WriteCall } from "../../lib/results/write-item";
import { Call, Deadlines } from "../../lib/waiting/deadlines";
import { specDatabase } from "../support/spec-database";

const errorOf = async (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => new Error("It resolved."),
    (error: unknown) => error as Error,
  );

/** Calls whose deadline passes, by the text of their lines. */
const calls: Readonly<Record<string, (backend: ResultBackend) => Promise<unknown>>> = {
  'wait("t", 1)': async (backend) => backend.wait("t", 1),
  'wait("t", 0)': async (backend) => backend.wait("t", 0),
  'waitSettled("expected"': async (backend) => backend.waitSettled("expected", { timeoutMs: 20, mustExist: true }),
  'waitGroup("g", 1)': async (backend) => backend.waitGroup("g", 1),
};

/** Returns the lines of this file for the frames of a stack; undefined for frames elsewhere. */
function linesOf({ stack = "" }: Error): (string | undefined)[] {
  const lines = readFileSync(__filename, "utf8").split("\n");
  const frames = stack.split("\n").filter((line) => line.startsWith("    at "));
  return frames.map((frame) => lines[Number(/call-site\.spec\.ts:(\d+)/.exec(frame)?.[1]) - 1]);
}

describe("the stack of a WaitTimeoutError", () => {
  const database = specDatabase("call site");
  const open: Readonly<Record<string, (longStackTraces: boolean) => Promise<ResultBackend>>> = {
    memory: async (longStackTraces) => Promise.resolve(new MemoryResultBackend({ longStackTraces })),
    Postgres: async (longStackTraces) => (await database.open({ longStackTraces })).withTtl(60_000),
  };

  describe.each(Object.keys(open))("on %s", (name) => {
    it.each(Object.keys(calls))("of %s begins with the caller if longStackTraces is set", async (call) => {
      const backend = await open[name]?.(true);
      await backend?.expect("expected");
      const error = await errorOf(calls[call]?.(backend ?? fail()) ?? fail());
      expect(error.stack?.split("\n")[0]).toBe(`WaitTimeoutError: ${error.message}`);
      expect(linesOf(error)[0]).toContain(`backend.${call}`);
      await backend?.close();
    });

    it("does not lead to the caller otherwise", async () => {
      const backend = await open[name]?.(false);
      const error = await errorOf(calls['wait("t", 1)']?.(backend ?? fail()) ?? fail());
      expect(error).toMatchObject({ code: "WAIT_TIMEOUT" });
      expect(linesOf(error)[0]).toBeUndefined();
      await backend?.close();
    });
  });
});

describe("the error of a read or write that is not answered in time", () => {
  it.each<[string, typeof Call | typeof WriteCall]>([
    ["read", Call],
    ["write", WriteCall],
  ])("has the stack of the %s if it is captured", async (_name, Kind) => {
    const deadlines = new Deadlines(undefined, true);
    const late = (): Error => new Error("late");
    const { stackTraceLimit } = Error;
    const error = await errorOf(new Kind<unknown>(deadlines, 1, late).promise);
    expect(Error.stackTraceLimit).toBe(stackTraceLimit);
    expect(error.message).toBe("late");
    expect(linesOf(error)).toContainEqual(expect.stringContaining("new Kind<unknown>"));
  });

  it("has that of its row if it waited for one", async () => {
    const deadlines = new Deadlines(undefined, true);
    const call = new WriteCall<unknown>(deadlines, 1, () => new Error("late"));
    call.item = { leave: () => undefined, lateError: () => new Error("locked") };
    const error = await errorOf(call.promise);
    expect(error.message).toBe("locked");
    expect(linesOf(error)).toContainEqual(expect.stringContaining("new WriteCall<unknown>"));
  });
});

function fail(): never {
  throw new Error("no such case");
}
