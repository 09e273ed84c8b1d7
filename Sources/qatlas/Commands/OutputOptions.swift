// How a command says that it shall print JSON: with the word of the genuine tool or with the flag that all
// listings have.

import ArgumentParser

/// Text or JSON.
struct OutputOptions: PlainOptions {
  @Option(help: "human or json.", completion: .outputs) var output = "human"
  @Flag(help: "Print JSON, as --output=json.") var json = false

  static var plain: Self {
    var options = Self()
    options.output = "human"
    options.json = false
    return options
  }

  var isJSON: Bool { json || output == "json" }

  /// Refuses a value that is neither; `verb` is the command.
  func check(_ streams: Streams, of verb: String) throws {
    try streams.requireOutputFormat(output, of: verb)
  }
}
