import lodash from "lodash";

globalThis.__lodash = lodash;
