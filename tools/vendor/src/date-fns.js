// Functions of date-fns that the built-in common uses or exports: version 2, as the published one has.
import { format, parse, startOfDay, startOfToday, startOfYesterday, subDays, subHours } from "date-fns";

globalThis.__dateFns = { format, parse, startOfDay, startOfToday, startOfYesterday, subDays, subHours };
