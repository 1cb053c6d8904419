import { microsOf } from "../../lib/results/expressions";
import { specDatabase } from "../support/spec-database";

describe("times from the database", () => {
  const database = specDatabase("times", { migrated: false });

  it("are exact to the microsecond until 2106", async () => {
    const [row] = await database.sql<{ times: number; different: number }>(`
      select count(*)::int as times,
        count(*) filter (where ${microsOf("time")} <> (extract(epoch from time) * 1000000)::bigint::text)::int as different
      from (
        select timestamptz '1970-01-01' + random() * interval '136 years' + (n % 1000000) * interval '1 microsecond' as time
        from generate_series(1, 200000) as n
      ) as sample`);
    expect(row).toEqual({ times: 200_000, different: 0 });
  });
});
