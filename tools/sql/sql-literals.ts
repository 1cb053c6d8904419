import { scanSync } from "libpg-query";
import ts from "typescript";
import type { UnqualifiedName } from "./sql-names";

/** A string or template of a TypeScript file that holds SQL, with `hole` in the place of each substitution. */
export interface SqlLiteral {
  readonly line: number;
  readonly text: string;
}

const hole = "hole__";
const beginsStatement =
  /^\s*(select|insert into|update|delete from|with \w+ |create|alter table|drop|set local|begin|do \$|lock table|truncate|grant|revoke|declare|fetch)\b/;
/** Marks pieces of SQL in a file that also has whole statements. Messages and titles begin with a capital letter. */
const looksLikeSql = /^\w+\(|::|\boperator\(|\bpg_catalog\.|\bis (not )?null\b|\b(where|from|and|or|order by)\b/;

/** Finds the SQL in a TypeScript file: whole statements and, in files that have any, pieces of statements. */
export function sqlLiterals(fileName: string, source: string): SqlLiteral[] {
  const file = ts.createSourceFile(fileName, source, ts.ScriptTarget.ES2022, true);
  const literals: SqlLiteral[] = [];
  const visit = (node: ts.Node): void => {
    const text = textOf(node);
    if (text !== undefined) literals.push({ line: file.getLineAndCharacterOfPosition(node.getStart()).line + 1, text });
    ts.forEachChild(node, visit);
  };
  visit(file);
  if (!literals.some(({ text }) => beginsStatement.test(text))) return [];
  return literals.filter(
    ({ text }) => beginsStatement.test(text) || (looksLikeSql.test(text) && !/^\s*[A-Z]/.test(text)),
  );
}

function textOf(node: ts.Node): string | undefined {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) {
    return ts.isImportDeclaration(node.parent) || ts.isExportDeclaration(node.parent) ? undefined : node.text;
  }
  if (!ts.isTemplateExpression(node)) return undefined;
  return node.head.text + node.templateSpans.map(({ literal }) => hole + literal.text).join("");
}

/** Keywords after which a name and a parenthesis are no call: `insert into name (…)`, `as name (…)`, `on name (…)`. */
const beforeNames = new Set(["as", "into", "on", "table", "index", "exists", "references", "update", "conflict"]);
const operators = new Set([
  "<",
  ">",
  "<=",
  ">=",
  "<>",
  "!=",
  "||",
  "+",
  "/",
  "%",
  "~",
  "~*",
  "!~",
  "->",
  "->>",
  "?",
  "@>",
  "<@",
  "&&",
]);
/** Tokens after which a minus is the sign of a number. */
const beforeNegative = new Set(["(", ",", "select", "then", "else", "default", "values"]);
const clauses = new Set(["select", "from", "where", "set", "on", "having", "returning", "values", "when", "and", "or"]);

/**
 * Finds unqualified names in a piece of SQL by its tokens alone. Less exact than `sqlNames`, but works on fragments.
 */
export function unqualifiedWords({ text }: SqlLiteral): UnqualifiedName[] {
  const words = scanSync(text).tokens.filter(({ tokenName }) => !tokenName.endsWith("COMMENT"));
  const found: UnqualifiedName[] = [];
  let clause = "";
  words.forEach((word, index) => {
    const [before, after] = [words[index - 1]?.text.toLowerCase() ?? "", words[index + 1]?.text.toLowerCase() ?? ""];
    const name = word.text.toLowerCase();
    const report = (what: string): void => {
      const context = text
        .slice(Math.max(0, word.start - 60), word.end + 60)
        .replace(/\s+/g, " ")
        .trim();
      found.push({ what, context });
    };
    if (clauses.has(name)) clause = name;
    const isName = word.tokenName === "IDENT";
    if (
      isName &&
      after === "(" &&
      before !== "." &&
      !beforeNames.has(before) &&
      !name.includes(hole) &&
      words[index - 2]?.text !== "with"
    )
      report(`function ${name}`);
    const isPlain = isName || (word.keywordName === "UNRESERVED_KEYWORD" && name !== "double") || name === "json";
    if (before === "::" && isPlain && after !== "." && !name.includes(hole)) report(`type ${name}`);
    if (isName && words[index + 1]?.tokenName === "SCONST" && before !== "as" && before !== ".") report(`type ${name}`);
    if (operators.has(name) && !isInOperator(words, index)) report(`operator ${name}`);
    if (name === "=" && clause !== "set" && !isInOperator(words, index)) report("operator =");
    if (name === "*" && !["select", "(", ".", ",", "returning"].includes(before) && !isInOperator(words, index))
      report("operator *");
    if (name === "-" && !beforeNegative.has(before) && !isInOperator(words, index)) report("operator -");
    if (name === "in" && after === "(") report("IN");
    if (name === "using" && after === "(") report("JOIN … USING");
    if (["like", "ilike", "between", "nullif"].includes(name)) report(name.toUpperCase());
    if (name === "distinct" && after === "from") report("IS DISTINCT FROM");
    if (name === "case" && after !== "when") report("CASE with an operand");
  });
  return found;
}

const isInOperator = (words: readonly { readonly text: string }[], index: number): boolean =>
  words[index - 1]?.text === "." && words[index - 2]?.text === "pg_catalog";
