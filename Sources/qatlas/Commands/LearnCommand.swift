// `qatlas learn`: the list of lessons in the explorer, with how far one is; the answers as lines of JSON, and what they
// are worth when they are judged again.

import ArgumentParser
import Cartography
import Course
import Explorer
import Glibc
import Qcow
import Storage
import ToolText

struct LearnCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "learn", abstract: "Choose a lesson, see how far you are, hand in answers, grade them.",
    discussion: """
      Answers are kept in $XDG_STATE_HOME/qatlas/learn.jsonl, one line of JSON each, without a name, a host or a path; \
      with QATLAS_NO_HISTORY=1 nothing is kept. --grade plays every lesson again and judges what was answered; what \
      the lines say of right and wrong does not count.
      """)

  @Flag(help: "Print the answers that were kept, as JSON lines.") var export = false
  @Option(help: "Judge the answers in files again, made by --export.", completion: .file())
  var grade: [String] = []
  @Option(
    help: "The folder of the lessons that are not the program's, instead of your own.", completion: .directory
  )
  var lessons: String?
  @Flag(help: "With --grade: print JSON.") var json = false
  @Argument(help: "More files for --grade.", completion: .file()) var files: [String] = []

  func validate() throws {
    guard !export || grade.isEmpty else {
      throw ValidationError("--export and --grade cannot be used together")
    }
    guard !grade.isEmpty || files.isEmpty else { throw ValidationError("files are for --grade") }
    guard !grade.isEmpty || !json else { throw ValidationError("--json is for --grade") }
  }

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    if export {
      for line in HostFiles(path: nil).answers() where LearnRecord(line) != nil {
        streams.output(line + "\n")
      }
      return
    }
    guard grade.isEmpty else { return try judge(grade + files, streams) }
    guard isatty(STDOUT_FILENO) == 1 else { return streams.output(try path(streams)) }
    try Explore.parse(["--lessons"]).run()
  }

  /// How far one is, for who has no screen.
  private func path(_ streams: Streams) throws -> String {
    let states = LearnState.all(HostFiles(path: nil).answers().compactMap { LearnRecord($0) })
    do throws(LessonProblem) { return try LessonSource(lessons).list(states) } catch {
      throw streams.failure(Escaping.human(error.description))
    }
  }

  private func judge(_ files: [String], _ streams: Streams) throws {
    let source = LessonSource(lessons)
    var engine = LearnGrade { source.text($0) }
    var reports: [ReportValue] = []
    for path in files {
      let lines: [String]
      do throws(StorageError) {
        let file = try FileOpener().open(path, for: .text)
        guard file.length <= 16 << 20 else {
          throw StorageError(.read, name: path, detail: "longer than 16 MiB")
        }
        lines = ByteText.lines(try file.bytes(at: 0, count: Int(file.length)))
      } catch { throw streams.failure(Escaping.human(error.description)) }
      let records = lines.compactMap { LearnRecord($0) }
      let rows = engine.rows(records)
      let strange = lines.count - records.count
      if json {
        reports.append(Self.report(path, rows, strange))
      } else {
        streams.output(Self.text(path, rows, strange))
      }
    }
    if json { streams.output(ReportValue.array(reports).json() + "\n") }
  }

  private static func report(_ path: String, _ rows: [LearnGrade.Row], _ strange: Int) -> ReportValue {
    let lessons = rows.map { row in
      ReportValue.object([
        Field("lesson", .string(row.lesson)), Field("questions", .number(UInt64(row.questions))),
        Field("first-try", .number(UInt64(row.firstTry))), Field("right", .number(UInt64(row.right))),
        Field("with-hints", .number(UInt64(row.withHints))), Field("seconds", .number(row.seconds)),
        Field("untrue", .number(UInt64(row.untrue))),
        Field("remarks", .array(row.remarks.map { .string($0) })),
      ])
    }
    return .object([
      Field("file", .string(path)), Field("lessons", .array(lessons)),
      Field("other-lines", .number(UInt64(strange))),
    ])
  }

  private static func text(_ path: String, _ rows: [LearnGrade.Row], _ strange: Int) -> String {
    func right(_ value: Int, _ width: Int) -> String {
      let text = String(value)
      return String(repeating: " ", count: max(0, width - text.count)) + text
    }
    var text = Escaping.human(path) + "\n"
    text += "  lesson              questions  first try  right  with hints  minutes\n"
    for row in rows {
      let name = Escaping.human(row.lesson)
      text += "  " + name + String(repeating: " ", count: max(1, 20 - name.count))
      text +=
        right(row.questions, 9) + right(row.firstTry, 11) + right(row.right, 7) + right(row.withHints, 12)
      text += right(Int(clamping: (row.seconds + 30) / 60), 9) + "\n"
      if row.untrue > 0 {
        text += "    \(counted(row.untrue, "line")) of it says right or wrong where it is not so\n"
      }
      for remark in row.remarks { text += "    \(Escaping.human(remark))\n" }
    }
    if strange > 0 { text += "  \(counted(strange, "line")) of another kind\n" }
    return text
  }
}
