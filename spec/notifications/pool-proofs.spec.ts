import { PoolProofs } from "../../lib/notifications/pool-proofs";

/** A pool whose notifications arrive, get lost on another server, or cannot be sent. */
class FakePool {
  sent = 0;
  constructor(
    readonly proofs: () => PoolProofs<FakePool>,
    public state: "alive" | "elsewhere" | "ended",
  ) {}

  notify(_channel: string, nonce: string): Promise<void> {
    this.sent += 1;
    if (this.state === "ended") return Promise.reject(new Error("ended"));
    if (this.state === "alive") this.proofs().receive(nonce);
    return Promise.resolve();
  }
}

const elsewhere: FakePool[] = [];
let proofs: PoolProofs<FakePool>;
const pools = (...states: FakePool["state"][]): FakePool[] => states.map((state) => new FakePool(() => proofs, state));
const verdict = async (of: readonly FakePool[]): Promise<string> => {
  const proof = proofs.prove(of, 1_000);
  await jest.advanceTimersByTimeAsync(2_000);
  return (await proof).verdict;
};

beforeEach(() => {
  jest.useFakeTimers();
  elsewhere.length = 0;
  proofs = new PoolProofs<FakePool>("channel", (pool) => elsewhere.push(pool));
});
afterEach(() => {
  expect(jest.getTimerCount()).toBe(0);
  jest.useRealTimers();
});

it("asks one pool at a time, in turn", async () => {
  const all = pools("alive", "alive", "alive");
  for (let beat = 0; beat < 6; beat += 1) expect(await verdict(all)).toBe("alive");
  expect(all.map(({ sent }) => sent)).toEqual([2, 2, 2]);
});

it("asks the others where one has ended", async () => {
  const [first, second] = pools("ended", "alive") as [FakePool, FakePool];
  expect(await verdict([first, second])).toBe("alive");
  second.state = "elsewhere";
  for (let beat = 0; beat < 2; beat += 1) expect(await verdict([first, second])).toBe("deaf");
  expect(elsewhere).toEqual([]);
});

it("knows the pool that reaches another server, until its notifications arrive again", async () => {
  const [first, second] = pools("elsewhere", "alive") as [FakePool, FakePool];
  for (let beat = 0; beat < 3; beat += 1) expect(await verdict([first, second])).toBe("alive");
  expect([proofs.isElsewhere(first), proofs.isElsewhere(second)]).toEqual([true, false]);
  expect(elsewhere).toEqual([first]);
  first.state = "alive";
  expect(await verdict([first, second])).toBe("alive");
  expect(proofs.isElsewhere(first)).toBe(false);
});

it("is deaf where no pool's notification arrives, and unproven where none can be sent", async () => {
  expect(await verdict(pools("elsewhere", "ended", "elsewhere"))).toBe("deaf");
  expect(await verdict(pools("ended", "ended"))).toBe("unproven");
  expect(await verdict([])).toBe("unproven");
});

it("forgets what it knew about a connection that is over", async () => {
  const [first, second] = pools("elsewhere", "alive") as [FakePool, FakePool];
  await verdict([first, second]);
  proofs.reset();
  expect(proofs.isElsewhere(first)).toBe(false);
});
