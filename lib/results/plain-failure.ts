import { ResultEncodingError } from "../errors";
import { plainerFailures } from "../value/failure";

/** Writes a row; a failure that the server refuses for its text once more in plainer ones, since a failure has to reach its waiters. */
export function writePlainly<Row extends { readonly error: string | null }, Outcome>(
  row: Row,
  write: (row: Row) => Promise<Outcome>,
): Promise<Outcome> {
  if (row.error === null) return write(row);
  const { error: refused } = row;
  let texts: string[] | undefined;
  const writeNext = (error: unknown): Promise<Outcome> => {
    if (!(error instanceof ResultEncodingError)) throw error;
    const text = (texts ??= plainerFailures(refused)).shift();
    if (text === undefined) throw error;
    return write({ ...row, error: text }).catch(writeNext);
  };
  return write(row).catch(writeNext);
}
