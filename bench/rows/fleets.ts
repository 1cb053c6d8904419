// Many storing processes with few lanes each, where most results are a commit of their own.

import type { NotifyMode } from "kojin-postgres";
import type { Bench } from "../bench";
import { bareStore, durableRedis } from "../references";
import type { Row } from "../row";
import type { Sample } from "../sample";
import type { TechniqueSettings } from "../technique";
import { slowCommits } from "./slow-commits";

/** Starting more processes takes a quick run longer than measuring them. */
const quickStoringProcesses = 8;

interface Fleet {
  readonly processes: number;
  readonly lanes: number;
  readonly tasks: readonly [full: number, quick: number];
  /** Commits take 2 ms longer. */
  readonly isSlow?: boolean;
}

const nameOf = ({ processes, lanes, isSlow }: Fleet): string =>
  `${processes} storing processes with ${lanes} lane${lanes === 1 ? "" : "s"} each${isSlow === true ? ", commits of 2 ms" : ""}`;

/** Drains, and measures the processor time of both sides. */
async function drain(
  { crew, size }: Bench,
  { processes, lanes, tasks }: Fleet,
  settings: TechniqueSettings,
  server: number,
): Promise<Sample> {
  const storingProcesses = size(processes, Math.min(processes, quickStoringProcesses));
  return crew.drain(settings, { tasks: size(...tasks), lanes, storingProcesses, server });
}

async function drainOurs(bench: Bench, fleet: Fleet, notify: NotifyMode): Promise<Sample> {
  const url = fleet.isSlow === true ? slowCommits(bench.url) : bench.url;
  return drain(bench, fleet, { technique: "ours", url, options: { notify } }, bench.postgres.processId);
}

/** Notifying within the commit, against connections of `pg` that do the same. */
const trigger = (fleet: Fleet, atLeast: number): Row => ({
  name: `${nameOf(fleet)}: 'trigger'`,
  reference: bareStore,
  unit: "/s",
  target: { of: "ratio", atLeast },
  prepare: (bench) => ({
    ours: async () => drainOurs(bench, fleet, "trigger"),
    reference: async () => drain(bench, fleet, { technique: "bare store", url: bench.url }, bench.postgres.processId),
  }),
});

/** Notifying after the commit, against notifying within it. */
const deferred = (fleet: Fleet, atLeast?: number): Row => ({
  name: `${nameOf(fleet)}: 'deferred'`,
  reference: {
    name: "'trigger'",
    description: "The library with the same processes and lanes, where each commit notifies.",
    code: ["bench/rows/fleets.ts", "deferred"],
  },
  unit: "/s",
  ...(atLeast === undefined ? {} : { target: { of: "ratio", atLeast } }),
  prepare: (bench) => ({
    ours: async () => drainOurs(bench, fleet, "deferred"),
    reference: async () => drainOurs(bench, fleet, "trigger"),
  }),
});

const deferredAgainstRedis = (fleet: Fleet): Row => ({
  name: `${nameOf(fleet)}: 'deferred', against ${durableRedis.name}`,
  reference: durableRedis,
  unit: "/s",
  prepare: async (bench) => {
    const { port: redisPort, processId } = await bench.redis("always");
    return {
      ours: async () => drainOurs(bench, fleet, "deferred"),
      reference: async () => drain(bench, fleet, { technique: "redis", url: bench.url, redisPort }, processId),
    };
  },
});

const eight: Fleet = { processes: 8, lanes: 1, tasks: [4_000, 640] };
const twentyFour: Fleet = { processes: 24, lanes: 1, tasks: [4_800, 640] };

export const fleetRows: readonly Row[] = [
  ...[eight, twentyFour].flatMap((fleet) => [trigger(fleet, 0.85), deferred(fleet, 1.1), deferredAgainstRedis(fleet)]),
  deferred({ processes: 32, lanes: 1, tasks: [3_200, 640], isSlow: true }, 5),
  deferred({ processes: 32, lanes: 8, tasks: [12_800, 1_280], isSlow: true }),
];
