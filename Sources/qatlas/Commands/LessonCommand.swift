// `qatlas lesson`: lists the lessons, or begins one: in the explorer on a terminal, as text elsewhere.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Qcow

struct LessonCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lesson", abstract: "Learn how an image works, step by step on a real one.",
    discussion: """
      Without a name it lists the lessons. In the explorer . is the next step and , goes back.

      With --verify the lessons of the course are played with the engine, and everything that they state is proved: \
      all of them, the one that is named, or those of a folder. One line tells what does not hold, the last one how \
      much was looked at. With --tools every file is made by the genuine tools as well, and must be the same but for \
      the dates of snapshots.
      """)

  @Flag(help: "Print the whole lesson instead of opening the explorer.") var text = false
  @Flag(help: "Prove what lessons state; exit code 1 if something does not hold.") var verify = false
  @Option(help: "A folder with lessons, instead of those of the program.", completion: .directory)
  var lessons: String?
  @Option(help: "With --verify: the folder of qemu-img and qemu-io.", completion: .directory) var tools:
    String?
  @Argument(help: "The lesson.", completion: .lessons) var name: String?

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    if verify {
      let genuine = try tools.map { folder in
        guard let tools = GenuineTools(folder) else {
          throw streams.failure("'\(Escaping.human(folder))' has no qemu-img and qemu-io")
        }
        return tools
      }
      var verification = LessonVerification(streams, tools: genuine)
      return try verification.run(name, in: lessons)
    }
    guard tools == nil, lessons == nil else {
      throw streams.failure("--tools and --lessons go with --verify")
    }
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
