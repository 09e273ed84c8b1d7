// `qatlas new`: the explorer with the dialog for a new image.

import ArgumentParser

struct NewCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "new",
    abstract: "Make an image in a dialog that tells what each option leads to, and explore it.",
    discussion: "Without a terminal 'qatlas create' does the same by words.")

  @Argument(help: "The name that the dialog begins with.", completion: .file()) var file: String?

  func run() throws {
    var explore = try Explore.parse([])
    explore.newImage = file ?? ""
    try explore.run()
  }
}
