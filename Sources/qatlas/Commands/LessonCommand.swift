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

      Lessons of your own are files in the folders of $QATLAS_LESSONS and in $XDG_DATA_HOME/qatlas/lessons; they are \
      called FOLDER/NAME. --new writes one to begin with, into the folder of --lessons or the one you are in.
      """)

  @Flag(help: "Print the whole lesson instead of opening the explorer.") var text = false
  @Flag(help: "Print it with the true answers.") var answers = false
  @Option(help: ArgumentHelp("Begin with this step.", valueName: "n")) var step: Int?
  @Flag(help: "Prove what lessons state; exit code 1 if something does not hold.") var verify = false
  @Flag(help: "Write a lesson with this name, to be changed into your own.") var new = false
  @Option(help: "A folder with lessons, instead of those of the program.", completion: .directory)
  var lessons: String?
  @Option(help: "With --verify: the folder of qemu-img and qemu-io.", completion: .directory) var tools:
    String?
  @Argument(help: "The lesson.", completion: .lessons) var name: String?

  func validate() throws {
    if let step, step < 1 { throw ValidationError("--step counts from 1") }
    guard tools == nil || verify else { throw ValidationError("--tools goes with --verify") }
    guard !new || !verify else { throw ValidationError("--new and --verify cannot be used together") }
    guard !new || name != nil else { throw ValidationError("--new needs a name") }
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
    if new { return try write(name ?? "", streams) }
    let source = LessonSource(lessons)
    do throws(LessonProblem) {
      guard let name else { return streams.output(try source.list()) }
      let lesson = try source.lesson(name).lesson
      if text || answers || isatty(STDOUT_FILENO) != 1 {
        return streams.output(try LessonText.run(lesson, answers: answers))
      }
    } catch { throw streams.failure(Escaping.human(error.description)) }
    let words =
      ["--lesson", name ?? ""] + (step.map { ["--lesson-step", String($0)] } ?? [])
      + (lessons.map { ["--lesson-folder", $0] } ?? [])
    try Explore.parse(words).run()
  }

  /// A new file, which proves itself already. One that is there stays as it is.
  private func write(_ name: String, _ streams: Streams) throws {
    guard LessonFolder.isName(name) else {
      throw streams.failure(
        "'\(Escaping.human(name))' is no name: letters, digits, '-' and '_', a letter first")
    }
    let path = (lessons.map { $0 + "/" } ?? "") + name + ".lesson"
    guard unsafe ByteText.withCString(path, { unsafe access($0, F_OK) }) != 0 else {
      throw streams.failure("'\(Escaping.human(path))' is there already")
    }
    do throws(StorageError) {
      try HostFiles(path: nil).writeText(LessonDraft.text(name), to: path)
    } catch { throw streams.failure(Escaping.human(error.description)) }
    streams.output(
      "\(Escaping.human(path)) is written; 'qatlas lesson --verify \(Escaping.human(name)) --lessons "
        + "\(Escaping.human(lessons ?? "."))' proves it\n")
  }
}

/// Where lessons come from: the program and the user's folders, or one folder that was named.
struct LessonSource {
  private let folder: String?

  /// `folder` stands for all others; with nil they are those of the program and the user.
  init(_ folder: String?) { self.folder = folder }

  private func folders() throws(LessonProblem) -> [LessonFolder] {
    guard let folder else { return LessonFolder.ofUser }
    guard let found = LessonFolder(folder) else { throw LessonProblem("there is no folder '\(folder)'") }
    return [found]
  }

  /// What can be chosen, in its order, with how far one is.
  ///
  /// - Throws: ``LessonProblem`` for a folder that there is not.
  func list(_ states: [String: LearnState] = [:]) throws(LessonProblem) -> String {
    let shelves = try folders().map(\.shelf)
    return LessonText.list(states, others: shelves, only: folder != nil)
  }

  /// A lesson by its name, which may lack the folder if that was named, and what tells versions of it from each other.
  ///
  /// - Throws: ``LessonProblem`` for one that there is not, or that cannot be read.
  func lesson(_ name: String) throws(LessonProblem) -> (lesson: Course.Lesson, digest: String) {
    let folders = try folders()
    if let found = LessonFolder.find(name, in: folders) {
      return (try found.folder.lesson(found.name), try found.folder.digest(found.name))
    }
    if folder != nil, let only = folders.first {
      guard only.names.contains(name) else { throw LessonProblem("the folder has no lesson '\(name)'") }
      return (try only.lesson(name), try only.digest(name))
    }
    let today = LessonNames.today(name)
    guard let text = LessonLibrary.text(today) else {
      throw LessonProblem("no lesson is called '\(name)'; 'qatlas lesson' lists them")
    }
    return (try LessonParser.read(text, name: today), LearnRecord.digest(of: text))
  }

  /// The file of a lesson that was answered; nil if there is none.
  func text(_ name: String) -> [UInt8]? {
    if let text = LessonLibrary.text(name) { return text }
    guard let folders = try? folders(), let found = LessonFolder.find(name, in: folders) else { return nil }
    return try? found.folder.text(found.name)
  }
}
