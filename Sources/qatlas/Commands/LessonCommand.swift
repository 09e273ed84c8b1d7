// `qatlas lesson`: lists the lessons, or begins one: in the explorer on a terminal, as text elsewhere.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Qcow

struct LessonCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lesson", abstract: "Learn how an image works, step by step on a real one.",
    discussion: "Without a name it lists the lessons. In the explorer . is the next step and , goes back.")

  @Flag(help: "Print the whole lesson instead of opening the explorer.") var text = false
  @Argument(help: "The lesson.", completion: .lessons) var name: String?

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    guard let name else { return streams.output(LessonText.list) }
    guard let lesson = Lesson.all.first(where: { $0.name == name }) else {
      throw streams.failure(
        "no lesson is called '\(Escaping.human(name))'; there are:", hint: LessonText.list)
    }
    if !text && isatty(STDOUT_FILENO) == 1 {
      return try Explore.parse(["--lesson", name]).run()
    }
    do throws(ImageError) {
      streams.output(try LessonText.run(lesson, files: HostFiles(path: nil)))
    } catch { throw streams.failure(error.description) }
  }
}
