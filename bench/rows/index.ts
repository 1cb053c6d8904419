import type { Row } from "../row";
import { burst } from "./burst";
import { drainAgainstBullmq, drainAgainstDurableRedis, drainAgainstRedis } from "./drain";
import { latency } from "./latency";

/** All rows, in the order of the table. */
export const rows: readonly Row[] = [
  latency(0, 1.6),
  latency(4_000, 1.15),
  burst,
  drainAgainstRedis,
  drainAgainstDurableRedis,
  drainAgainstBullmq,
];
