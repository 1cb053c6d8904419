import type { Observable } from "rxjs";
import type { Database } from "../database/database";
import type { Deadlines } from "../deadlines";
import type { HintSelection } from "../notify/hint-source";
import type { ResolvedOptions } from "../options";
import type { SchemaCheck } from "../schema/schema-check";
import type { Aborts } from "./aborts";
import type { Mark } from "./feed";
import type { WakeCause } from "./router";
import type { Sweep } from "./sweep";

/** What everything that can be waited for shares in a backend. */
export interface Interest {
  readonly options: ResolvedOptions;
  readonly database: Database;
  readonly schemaCheck: SchemaCheck;
  readonly deadlines: Deadlines;
  readonly aborts: Aborts;
  readonly sweep: Sweep;
  /** Is told what is waited for, where hints have to be asked for. */
  readonly selection: HintSelection | undefined;
  readonly closed$: Observable<never>;
  readonly countWake: (cause: WakeCause) => void;
  readonly countBatch?: ((size: number) => void) | undefined;
  /** Whether results are read with what telemetry shows of them. */
  readonly isObserved: boolean;
  /** The database's time, in microseconds since 1970. */
  readonly readClock: () => Promise<number>;
  /** A reader of pages by a statement that takes the time and key to begin after, and how many rows, and gives keys and times. */
  readonly readMarks: (text: string) => (after: Mark, limit: number) => Promise<readonly Mark[]>;
}

export function createInterest(parts: Omit<Interest, "readClock" | "readMarks">, clockText: string): Interest {
  const { database, options } = parts;
  const timeoutMs = options.retryTimeoutMs;
  return {
    ...parts,
    readClock: async () => {
      const [row] = await database.query<[string]>(
        { purpose: "read the clock", text: clockText, values: [] },
        timeoutMs,
      );
      return Number(row?.[0]);
    },
    readMarks: (text) => async (after, limit) => {
      const query = { purpose: "read what is new", text, values: [after.storedAt, after.key, limit] };
      const rows = await database.query<[string, string]>(query, timeoutMs);
      return rows.map(([key, storedAt]) => ({ key, storedAt: Number(storedAt) }));
    },
  };
}
