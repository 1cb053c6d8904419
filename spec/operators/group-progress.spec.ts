import { of, take } from "rxjs";
import { MemoryResultBackend } from "kojin-postgres";
import { groupProgress } from "kojin-postgres/operators";
import { parse, VirtualTime } from "./support/virtual-time";

const state = (groupId: string, completed: number, total: number | null, more: object = {}): object => ({
  groupId,
  total,
  completed,
  failed: 0,
  done: completed === total,
  expired: false,
  ...more,
});

describe("groupProgress, in virtual time", () => {
  let backend: MemoryResultBackend;
  let time: VirtualTime;

  beforeEach(() => {
    jest.useFakeTimers();
    backend = new MemoryResultBackend();
    time = new VirtualTime();
  });

  afterEach(async () => {
    expect(backend.stats()).toEqual({ waiting: 0 });
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
    await backend.close();
  });

  const finished = (marbles: string): void => {
    let count = 0;
    time.at(marbles, (groupId) => backend.completeGroupMember(groupId, `t${(count += 1)}`, 1));
  };

  it("shows each group at once, at every change and when it is done, and then completes", async () => {
    await backend.initGroup("g", 2);
    await backend.initGroup("h", 1);
    const ids$ = time.source("         g----h-|");
    finished("                         -g-g----h");
    const expected = parse("           ab-c-d--(e|)", {
      a: state("g", 0, 2),
      b: state("g", 1, 2),
      c: state("g", 2, 2),
      d: state("h", 0, 1),
      e: state("h", 1, 1),
    });
    expect(await time.record(ids$.pipe(groupProgress(backend)))).toEqual(expected);
  });

  it("shows nothing of a group that nothing is known of, until something is", async () => {
    finished("--g");
    time.at("----g", (groupId) => backend.initGroup(groupId, 1));
    const states$ = time.source("g|").pipe(groupProgress(backend));
    expect(await time.record(states$)).toEqual(parse("--a-(b|)", { a: state("g", 1, null), b: state("g", 1, 1) }));
  });

  it("shows a group whose deadline is over a last time, and goes on with the others", async () => {
    await backend.initGroup("g", 2, { deadlineMs: 4 });
    await backend.initGroup("h", 1);
    finished("-g----h");
    const states$ = time.source("(gh|)").pipe(groupProgress(backend));
    const expected = parse("(ab)--------------", { a: state("g", 0, 2), b: state("h", 0, 1) });
    expected.push(
      ...parse("-c--d-(e|)", {
        c: state("g", 1, 2),
        d: state("g", 1, 2, { expired: true }),
        e: state("h", 1, 1),
      }),
    );
    expect(await time.record(states$)).toEqual(expected);
  });

  it("watches as many groups as it may at once", async () => {
    for (const groupId of ["g", "h"]) await backend.initGroup(groupId, 1);
    finished("-h-g");
    const states$ = time.source("(gh|)").pipe(groupProgress(backend, { concurrency: 1 }));
    const values = { a: state("g", 0, 1), b: state("g", 1, 1), c: state("h", 1, 1) };
    expect(await time.record(states$)).toEqual(parse("a--(bc|)", values));
    expect(() => groupProgress(backend, { concurrency: 0 })).toThrow(RangeError);
    expect(() => groupProgress(backend, { timeoutMs: 5 } as object)).toThrow(TypeError);
  });

  it("errors when its source does, when the backend closes, and for an id that nothing can have", async () => {
    await backend.initGroup("g", 1);
    const values = { a: state("g", 0, 1) };
    const broken$ = time.source("g-#", new Error("source")).pipe(groupProgress(backend));
    expect(await time.record(broken$)).toEqual(parse("a-#", values, new Error("source")));
    time = new VirtualTime();
    const impossible$ = of("").pipe(groupProgress(backend));
    expect(await time.record(impossible$)).toEqual(parse("#", {}, expect.any(RangeError)));
    time = new VirtualTime();
    const cut$ = time.source("g-").pipe(groupProgress(backend));
    time.at("--x", () => backend.close());
    const closed = expect.objectContaining({ code: "BACKEND_CLOSED" }) as unknown;
    expect(await time.record(cut$)).toEqual(parse("a-#", values, closed));
  });

  it("lets go of every group when it is unsubscribed from", async () => {
    await backend.initGroup("g", 1, { deadlineMs: 500 });
    const first$ = time.source("hg").pipe(groupProgress(backend), take(1));
    expect(await time.record(first$)).toEqual(parse("-(a|)", { a: state("g", 0, 1) }));
  });
});
