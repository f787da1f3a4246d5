// The Intl that formatjs itself looks things up in. Jobs have another one.
import { getCanonicalLocales } from "@formatjs/intl-getcanonicallocales";
import { PluralRules } from "@formatjs/intl-pluralrules";

const intl = { getCanonicalLocales, PluralRules };
export { intl as Intl };
