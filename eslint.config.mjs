import tsdoc from "eslint-plugin-tsdoc";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist/", "site/", "coverage/", "node_modules/", ".tmp/", "examples/next/"] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { tsdoc },
    rules: {
      "tsdoc/syntax": "error",
      // A module of NestJS.
      "@typescript-eslint/no-extraneous-class": ["error", { allowWithDecorator: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      // The type parameter of `get<T>` is the caller's claim about the stored JSON and appears nowhere else.
      "@typescript-eslint/no-unnecessary-type-parameters": "off",
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "max-lines": ["error", 400],
      "max-lines-per-function": ["error", { max: 80, skipComments: true, skipBlankLines: true }],
      "no-warning-comments": ["error", { terms: ["todo", "fixme", "xxx"] }],
    },
  },
  { files: ["lib/**"], ignores: ["lib/cli/**", "lib/dashboard/**"], rules: { "no-console": "error" } },
  { files: ["spec/**"], rules: { "max-lines-per-function": "off" } },
  {
    files: ["**/*.mjs", "**/*.config.*", "lib/dashboard/page/**", "tools/docs/scenes.ts"],
    extends: [tseslint.configs.disableTypeChecked],
  },
);
