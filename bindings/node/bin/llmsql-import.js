#!/usr/bin/env node
// SPDX-License-Identifier: MIT
"use strict";
require("../platform.js").become("llmsql-import");
