"use strict";
/** What cannot be read, in a sentence that says what to do. `field` names the input to correct. */
class ReadError extends Error {
  constructor(message, field = "file") {
    super(message);
    this.field = field;
  }
}
