/**
 * Decodes the rows that this package reads, whatever parsers the application has given to `pg.types` or to its pool: the values always have the same types, and a parser of the application's cannot
 * throw here. Numbers that a double holds exactly, and booleans; the text of everything else.
 */
export const rawValues = {
  getTypeParser(typeId: number): (value: string) => unknown {
    if (typeId === booleanId) return (value) => value === "t";
    return numberIds.has(typeId) ? Number : String;
  },
};

// PostgreSQL source, pg_type.dat: bool; int2, int4, oid, float4, float8.
const booleanId = 16;
const numberIds: ReadonlySet<number> = new Set([21, 23, 26, 700, 701]);
