import { Database, type Query } from "../../lib/database/database";
import { ServerClock } from "../../lib/database/server-clock";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

const database = specDatabase("server clock", { migrated: false });

/** A server whose clock can be set, a way to it of a known length, and a local clock that only this moves. */
class Simulation {
  localMs = 0;
  serverMs = 1_700_000_000_000;
  /** From the moment a query is sent until the server reads its clock, and from there until the answer. */
  wayMs: [there: number, back: number] = [5, 5];
  /** How long a query waits for a connection before it is sent. */
  poolMs = 0;
  queries = 0;
  failure: Error | undefined;
  readonly clock = new ServerClock(
    {
      query: <Row extends unknown[]>(query: Query) =>
        Promise.resolve().then(() => this.#answer(query) as unknown as Row[]),
    },
    () => this.localMs,
  );

  pass(ms: number): void {
    this.localMs += ms;
    this.serverMs += ms;
  }

  use(): void {
    this.clock.lower(this.localMs);
  }

  #answer(query: Query): [string][] {
    this.queries += 1;
    if (this.failure !== undefined) throw this.failure;
    this.pass(this.poolMs);
    query.whenSent?.();
    this.pass(this.wayMs[0]);
    const micros = String(this.serverMs * 1_000);
    this.pass(this.wayMs[1]);
    return [[micros]];
  }

  /** How far the bounds are from the truth, in milliseconds. */
  get errors(): [lower: number, upper: number] {
    const truth = this.serverMs;
    return [this.clock.lower(this.localMs) / 1_000 - truth, this.clock.upper(this.localMs) / 1_000 - truth];
  }
}

it("bounds the server's time by the round trip of its sample", async () => {
  const simulation = new Simulation();
  simulation.wayMs = [30, 10];
  await simulation.clock.ready(1_000);
  const [lower, upper] = simulation.errors;
  expect(lower).toBeCloseTo(-10, 0);
  expect(upper).toBeCloseTo(30, 0);
});

it("does not count the wait for a connection", async () => {
  const simulation = new Simulation();
  simulation.poolMs = 5_000;
  await simulation.clock.ready(10_000);
  const [lower, upper] = simulation.errors;
  expect(upper - lower).toBeLessThan(11);
});

it("knows nothing, and asks nothing, before it is used", async () => {
  const simulation = new Simulation();
  expect(simulation.clock.isKnown).toBe(false);
  simulation.pass(600_000);
  expect(simulation.queries).toBe(0);
  expect(simulation.clock.lower(0)).toBe(-Infinity);
  expect(simulation.clock.upper(0)).toBe(Infinity);
  await eventually(() => expect(simulation.clock.isKnown).toBe(true));
  expect(simulation.queries).toBe(1);
});

it("reads one sample for all that wait for one", async () => {
  const simulation = new Simulation();
  await Promise.all([1, 2, 3].map(async () => simulation.clock.ready(1_000)));
  await simulation.clock.ready(1_000);
  expect(simulation.queries).toBe(1);
});

it("allows for clocks that drift apart, and reads a new sample once it is used and the old one is a minute old", async () => {
  const simulation = new Simulation();
  await simulation.clock.ready(1_000);
  simulation.pass(59_000);
  const [lower, upper] = simulation.errors;
  expect(upper - lower).toBeGreaterThan(50);
  expect(simulation.queries).toBe(1);
  simulation.pass(1_000);
  expect(simulation.queries).toBe(1);
  simulation.use();
  await eventually(() => expect(simulation.errors[1] - simulation.errors[0]).toBeLessThan(11));
  expect(simulation.queries).toBe(2);
});

it("keeps a close sample when a newer one is loose, and does not ask again for a minute", async () => {
  const simulation = new Simulation();
  await simulation.clock.ready(1_000);
  simulation.pass(60_000);
  simulation.wayMs = [2_000, 2_000];
  simulation.use();
  await eventually(() => expect(simulation.queries).toBe(2));
  await simulation.clock.ready(1_000);
  expect(simulation.errors[1] - simulation.errors[0]).toBeLessThan(200);
  expect(simulation.queries).toBe(2);
});

it.each([
  ["forward", 3_600_000],
  ["back", -3_600_000],
])("follows a clock that is set %s", async (_direction, byMs) => {
  const simulation = new Simulation();
  await simulation.clock.ready(1_000);
  simulation.pass(60_000);
  simulation.serverMs += byMs;
  simulation.use();
  await eventually(() => expect(Math.abs(simulation.errors[0])).toBeLessThan(100));
});

it("reads a new sample at once when it is told that the old one is wrong", async () => {
  const simulation = new Simulation();
  await simulation.clock.ready(1_000);
  simulation.serverMs += 1_000;
  simulation.clock.invalidate();
  expect(simulation.clock.isKnown).toBe(false);
  await simulation.clock.ready(1_000);
  expect(Math.abs(simulation.errors[0])).toBeLessThan(11);
});

it("rejects when no sample can be read, and tries again when it is asked again", async () => {
  const simulation = new Simulation();
  simulation.failure = new Error("no server");
  await expect(simulation.clock.ready(1_000)).rejects.toThrow("no server");
  simulation.failure = undefined;
  await simulation.clock.ready(1_000);
  expect(simulation.clock.isKnown).toBe(true);
});

it("gives each caller its own time for a sample, though the query is shared", async () => {
  const asked: number[] = [];
  const fail: ((error: Error) => void)[] = [];
  const clock = new ServerClock({
    query: <Row extends unknown[]>(_query: Query, timeoutMs: number) =>
      new Promise<Row[]>((resolve, reject) => {
        asked.push(timeoutMs);
        if (asked.length === 1) fail.push(reject);
        else resolve([["1700000000000000"]] as unknown as Row[]);
      }),
  });
  const hurried = clock.ready(45);
  const patient = clock.ready(30_000);
  fail[0]?.(new Error("No connection from the pool within 45 ms"));
  await expect(hurried).rejects.toThrow("45 ms");
  await patient;
  expect(clock.isKnown).toBe(true);
  expect(asked).toHaveLength(2);
  expect(asked[1]).toBeGreaterThan(10_000);
});

it("rejects in time where the query that is shared may take longer", async () => {
  const clock = new ServerClock({
    query: async (_query: Query, timeoutMs: number) => {
      if (timeoutMs > 1_000) return new Promise<never>(() => undefined);
      throw new Error("no connection");
    },
  });
  const patient = clock.ready(300_000);
  await expect(clock.ready(20)).rejects.toThrow("no connection");
  expect(clock.isKnown).toBe(false);
  expect(patient).toBeInstanceOf(Promise);
});

it("asks nothing more once it is closed", async () => {
  const simulation = new Simulation();
  await simulation.clock.ready(1_000);
  simulation.clock.close();
  simulation.pass(120_000);
  simulation.use();
  expect(simulation.queries).toBe(1);
});

it("reads the clock of a real server", async () => {
  const clock = new ServerClock(new Database(database.pool, database.schema));
  await clock.ready(30_000);
  const before = performance.now();
  const [row] = await database.sql<{ micros: string }>(
    "select (extract(epoch from clock_timestamp()) * 1000000)::bigint as micros",
  );
  const after = performance.now();
  clock.close();
  expect(Number(row?.micros)).toBeGreaterThanOrEqual(Math.floor(clock.lower(before)));
  expect(Number(row?.micros)).toBeLessThanOrEqual(Math.ceil(clock.upper(after)));
});
