// `qatlas lesson`: lists the lessons, or begins one: in the explorer on a terminal, as text elsewhere; or proves them.

import ArgumentParser
import Cartography
import Course
import Explorer
import Glibc
import Qcow
import Storage

struct LessonCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lesson", abstract: "Learn how an image works, step by step on a real one.",
    discussion: """
      Without a name it lists the lessons in their order, with minutes and what they need. In the explorer . goes on \
      and , goes back; nothing is done before its question is answered. 'qatlas learn' shows how far you are.

      With --verify the lessons of the course are played with the engine, and everything that they state is proved: \
      all of them, the one that is named, or those of a folder. One line tells what does not hold, the last one how \
      much was looked at. With --tools every file is made by the genuine tools as well, and must be the same but for \
      the dates of snapshots.
      """)

  @Flag(help: "Print the whole lesson instead of opening the explorer.") var text = false
  @Flag(help: "Print it with the true answers.") var answers = false
  @Option(help: ArgumentHelp("Begin with this step.", valueName: "n")) var step: Int?
  @Flag(help: "Prove what lessons state; exit code 1 if something does not hold.") var verify = false
  @Option(help: "A folder with lessons, instead of those of the program.", completion: .directory)
  var lessons: String?
  @Option(help: "With --verify: the folder of qemu-img and qemu-io.", completion: .directory) var tools:
    String?
  @Argument(help: "The lesson.", completion: .lessons) var name: String?

  func validate() throws {
    if let step, step < 1 { throw ValidationError("--step counts from 1") }
    guard tools == nil || verify else { throw ValidationError("--tools goes with --verify") }
  }

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
    let shelf = LessonShelf(lessons)
    do throws(LessonProblem) {
      guard let name else { return streams.output(try shelf.list()) }
      let lesson = try shelf.lesson(name)
      if text || answers || isatty(STDOUT_FILENO) != 1 {
        return streams.output(try LessonText.run(lesson, answers: answers))
      }
    } catch { throw streams.failure(Escaping.human(error.description)) }
    let words =
      ["--lesson", name ?? ""] + (step.map { ["--lesson-step", String($0)] } ?? [])
      + (lessons.map { ["--lesson-folder", $0] } ?? [])
    try Explore.parse(words).run()
  }
}

/// Where lessons come from: the program, or a folder of somebody's.
struct LessonShelf {
  private let folder: String?

  /// The lessons of a folder; of the program if that is nil.
  init(_ folder: String?) { self.folder = folder }

  private func opened() throws(LessonProblem) -> LessonFolder? {
    guard let folder else { return nil }
    guard let found = LessonFolder(folder) else { throw LessonProblem("there is no folder '\(folder)'") }
    return found
  }

  /// Names with titles, in their order.
  ///
  /// - Throws: ``LessonProblem`` for a folder that there is not, and a lesson that cannot be read.
  func list() throws(LessonProblem) -> String {
    guard let opened = try opened() else { return LessonText.list }
    var text = ""
    for name in opened.names { text += "\(name)  \(try lesson(name).title)\n" }
    return text
  }

  /// A lesson by its name.
  ///
  /// - Throws: ``LessonProblem`` for one that there is not, or that cannot be read.
  func lesson(_ name: String) throws(LessonProblem) -> Course.Lesson {
    try LessonParser.read(try text(name), name: LessonNames.today(name))
  }

  /// The file of a lesson.
  ///
  /// - Throws: ``LessonProblem`` for one that there is not, or that cannot be read.
  func text(_ name: String) throws(LessonProblem) -> [UInt8] {
    if let opened = try opened() {
      guard opened.names.contains(name) else { throw LessonProblem("the folder has no lesson '\(name)'") }
      do throws(StorageError) { return try opened.text(name) } catch {
        throw LessonProblem(error.description)
      }
    }
    guard let text = LessonLibrary.text(LessonNames.today(name)) else {
      throw LessonProblem("no lesson is called '\(name)'; 'qatlas lesson' lists them")
    }
    return text
  }
}
