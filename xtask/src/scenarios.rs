//! Runs VM scenarios: groups them into as few boots as can be, two machines at a
//! time, and judges how each ended against what it is to show.

use std::collections::VecDeque;
use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use tmem_tests::{Effort, Expect, FileSystem, Kernel, Machine, Scenario};

use crate::build::{Modules, Programs};
use crate::report::{Report, Test};
use crate::vm::{self, Boot, End, Outcome};

/// How long a machine may take to boot.
const BOOT_QEMU: Duration = Duration::from_secs(120);
const BOOT_IBT: Duration = Duration::from_secs(300);

/// How scenarios are run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Which of their parameter sets.
    pub(crate) effort: Effort,
    /// Parts of names, any of which selects; empty: all.
    pub(crate) filters: Vec<String>,
    /// Machines to use.
    pub(crate) machines: Vec<Machine>,
    /// For the guests' random numbers.
    pub(crate) seed: u64,
}

/// Scenarios that share a boot.
#[derive(Clone, Debug)]
struct Plan {
    kernel: Kernel,
    machine: Machine,
    scenarios: Vec<&'static Scenario>,
}

impl Plan {
    /// Whether `scenario` can join.
    fn takes(&self, scenario: &Scenario) -> bool {
        let first = self.scenarios[0];
        let alone = |s: &Scenario| s.own_boot || matches!(s.expects, Expect::Death(_));
        !alone(first)
            && !alone(scenario)
            && first.memory_mib == scenario.memory_mib
            && first.swap_mib == scenario.swap_mib
            && first.cpus == scenario.cpus
            && first.kernel_args == scenario.kernel_args
    }

    fn seconds(&self) -> u32 {
        self.scenarios.iter().map(|s| s.timeout_s).sum()
    }
}

/// Whether a machine boots this kernel.
pub(crate) fn runs_on(machine: Machine, kernel: Kernel) -> bool {
    machine == Machine::Qemu || kernel >= Kernel::V6_12
}

/// The boots for all selected scenarios on `kernels`.
fn plans(kernels: &[Kernel], settings: &Settings) -> Vec<Plan> {
    let mut all = Vec::new();
    for &kernel in kernels {
        for &machine in settings.machines.iter().filter(|m| runs_on(**m, kernel)) {
            let mut plans: Vec<Plan> = Vec::new();
            for scenario in tmem_tests::SCENARIOS {
                let selected = scenario.kernels.contains(&kernel)
                    && scenario.machines.contains(&machine)
                    && crate::report::selects(&settings.filters, scenario.name)
                    && (settings.effort == Effort::Quick || !scenario.soak.is_empty());
                if !selected {
                    continue;
                }
                match plans.iter_mut().find(|plan| plan.takes(scenario)) {
                    Some(plan) => plan.scenarios.push(scenario),
                    None => plans.push(Plan {
                        kernel,
                        machine,
                        scenarios: vec![scenario],
                    }),
                }
            }
            all.extend(plans);
        }
    }
    // The longest first, so that both workers end at about the same time.
    all.sort_by_key(|plan| std::cmp::Reverse(plan.seconds()));
    all
}

/// The machines that the selected scenarios run on; none: no scenario is selected.
pub(crate) fn machines(kernels: &[Kernel], settings: &Settings) -> Vec<Machine> {
    let plans = plans(kernels, settings);
    [Machine::Qemu, Machine::Ibt]
        .into_iter()
        .filter(|machine| plans.iter().any(|plan| plan.machine == *machine))
        .collect()
}

/// Whether a selected scenario runs programs from the disk that has them.
pub(crate) fn use_programs(kernels: &[Kernel], settings: &Settings) -> bool {
    plans(kernels, settings)
        .iter()
        .any(|plan| plan.scenarios.iter().any(|s| s.programs))
}

/// Runs the selected scenarios on the kernels of `built`.
pub(crate) fn run(built: &[Modules], programs: &Programs, settings: &Settings, report: &Report) {
    let kernels: Vec<Kernel> = built.iter().map(|m| m.kernel).collect();
    let queue = Mutex::new(VecDeque::from(plans(&kernels, settings)));
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop_front());
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(1, 2);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(plan) = next() {
                    let modules = built.iter().find(|m| m.kernel == plan.kernel);
                    if let Some(modules) = modules {
                        run_plan(plan, modules, programs, settings, report);
                    }
                }
            });
        }
    });
}

/// Boots until each scenario of the plan has had its turn: when one breaks its
/// machine, those after it get another.
fn run_plan(
    mut plan: Plan,
    modules: &Modules,
    programs: &Programs,
    settings: &Settings,
    report: &Report,
) {
    while !plan.scenarios.is_empty() {
        let begin = Instant::now();
        let boot = boot(&plan, modules, programs, settings);
        let done = match vm::run(&boot) {
            Ok(machine) => judge(&plan, &machine, settings, report),
            Err(error) => {
                let test = test(&plan, plan.scenarios[0], begin.elapsed());
                report.add(test.failed(format!("{error:#}")));
                1
            }
        };
        plan.scenarios.drain(..done);
    }
}

fn boot<'a>(
    plan: &Plan,
    modules: &'a Modules,
    programs: &'a Programs,
    settings: &Settings,
) -> Boot<'a> {
    let first = plan.scenarios[0];
    let names: Vec<&str> = plan.scenarios.iter().map(|s| s.name).collect();
    let effort = match settings.effort {
        Effort::Quick => "quick",
        Effort::Soak => "soak",
    };
    let mut wanted: Vec<&str> = Vec::new();
    for module in plan.scenarios.iter().flat_map(|s| s.modules) {
        if !wanted.contains(module) {
            wanted.push(module);
        }
    }
    let mut file_systems: Vec<FileSystem> = plan
        .scenarios
        .iter()
        .filter_map(|s| s.file_system)
        .collect();
    file_systems.sort_unstable();
    file_systems.dedup();
    let soak = if settings.effort == Effort::Soak {
        60
    } else {
        1
    };
    let mut timeouts: Vec<Duration> = plan
        .scenarios
        .iter()
        .map(|s| Duration::from_secs(u64::from(s.timeout_s) * soak))
        .collect();
    timeouts[0] += match plan.machine {
        Machine::Qemu => BOOT_QEMU,
        Machine::Ibt => BOOT_IBT,
    };
    Boot {
        name: first.name.to_owned(),
        machine: plan.machine,
        modules,
        programs,
        memory_mib: first.memory_mib,
        swap_mib: first.swap_mib,
        file_systems,
        disk_operations: None,
        disk_of_programs: plan.scenarios.iter().any(|s| s.programs),
        cpus: first.cpus,
        wanted,
        extra: Vec::new(),
        arguments: format!(
            "loglevel=5 tmem.scenario={} tmem.effort={effort} tmem.params=seed={} {}",
            names.join(","),
            settings.seed,
            first.kernel_args
        ),
        timeouts,
        counted: false,
        plugin: None,
        echo: None,
    }
}

fn test(plan: &Plan, scenario: &Scenario, took: Duration) -> Test {
    let place = match plan.machine {
        Machine::Qemu => plan.kernel.name().to_owned(),
        Machine::Ibt => format!("{} ibt", plan.kernel),
    };
    Test::new(scenario.name, place, took)
}

/// Adds one test for each scenario that had its turn; how many had.
fn judge(plan: &Plan, machine: &vm::Report, settings: &Settings, report: &Report) -> usize {
    let outcomes = &machine.console.outcomes;
    let mut keep = false;
    let mut fail = |test: Test, why: String, end: usize| {
        keep = true;
        report.add(test.failed(format!(
            "{why}\nseed {}; console: {}; up to there:\n{}",
            settings.seed,
            machine.file.display(),
            machine.console.before(end, 40)
        )));
    };
    let all = machine.console.lines.len();
    let mut done = 0;
    for (scenario, outcome) in plan.scenarios.iter().zip(outcomes) {
        done += 1;
        let mut test = test(plan, scenario, outcome.took);
        if scenario.expects == Expect::Pass {
            // A control's pages say nothing about the module.
            test = test.with_data(&outcome.data);
        }
        match verdict(scenario, outcome) {
            Ok(()) => report.add(test),
            Err(why) => fail(test, why, outcome.lines),
        }
    }
    if let Some(scenario) = plan.scenarios.get(done) {
        // Its turn was not over when the machine ended.
        done += 1;
        let test = test(plan, scenario, machine.console.since_outcome());
        match (&scenario.expects, &machine.end) {
            (Expect::Death(words), End::Death(_)) if machine.console.contains(words) => {
                report.add(test)
            }
            (Expect::Death(words), end) => {
                fail(test, format!("must die of {words:?}, but {end}"), all)
            }
            (_, end) => fail(test, end.to_string(), all),
        }
    } else if machine.end != End::Done {
        let test = Test::new(
            "power off",
            plan.kernel.name().to_owned(),
            machine.console.since_outcome(),
        );
        fail(test, format!("after all scenarios: {}", machine.end), all);
    }
    if !keep {
        // Nobody reads the console of a test that passed.
        let _ = fs::remove_file(&machine.file);
    }
    done
}

/// Whether the guest's word is what the scenario has to show.
fn verdict(scenario: &Scenario, outcome: &Outcome) -> Result<(), String> {
    if outcome.name != scenario.name {
        let why = outcome.failure.as_deref().unwrap_or("passed");
        return Err(format!("the guest ran {} instead: {why}", outcome.name));
    }
    match (&scenario.expects, &outcome.failure) {
        (Expect::Pass, None) => Ok(()),
        (Expect::Pass, Some(why)) => Err(why.clone()),
        (Expect::Fail(words), Some(why)) if why.contains(words) => Ok(()),
        (Expect::Fail(words), Some(why)) => {
            Err(format!("must fail with {words:?}, but failed with: {why}"))
        }
        (Expect::Fail(words), None) => Err(format!("must fail with {words:?}, but passed")),
        (Expect::Death(words), _) => Err(format!("must die of {words:?}, but lived")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(failure: Option<&str>) -> Outcome {
        Outcome {
            name: "swap_x".into(),
            failure: failure.map(String::from),
            data: Vec::new(),
            took: Duration::ZERO,
            lines: 0,
        }
    }

    #[test]
    fn negative_controls_pass_only_with_their_failure() {
        let pass = Scenario::new("swap_x");
        let control = Scenario {
            expects: Expect::Fail("bad page"),
            ..pass
        };
        let death = Scenario {
            expects: Expect::Death("Missing ENDBR"),
            ..pass
        };
        assert!(verdict(&pass, &outcome(None)).is_ok());
        assert!(verdict(&pass, &outcome(Some("bad page 3"))).is_err());
        assert!(verdict(&control, &outcome(Some("2 bad pages"))).is_ok());
        assert!(verdict(&control, &outcome(Some("out of memory"))).is_err());
        assert!(verdict(&control, &outcome(None)).is_err());
        assert!(verdict(&death, &outcome(None)).is_err());
        assert!(verdict(&Scenario::new("swap_y"), &outcome(None)).is_err());
    }

    #[test]
    fn each_selected_scenario_is_in_exactly_one_boot() {
        let settings = Settings {
            effort: Effort::Quick,
            filters: Vec::new(),
            machines: vec![Machine::Qemu, Machine::Ibt],
            seed: 1,
        };
        let plans = plans(&Kernel::ALL, &settings);
        for scenario in tmem_tests::SCENARIOS {
            let times: usize = plans
                .iter()
                .map(|p| {
                    p.scenarios
                        .iter()
                        .filter(|s| s.name == scenario.name)
                        .count()
                })
                .sum();
            let wanted: usize = scenario
                .machines
                .iter()
                .map(|m| scenario.kernels.iter().filter(|k| runs_on(*m, **k)).count())
                .sum();
            assert_eq!(times, wanted, "{}", scenario.name);
        }
        for plan in plans.iter().filter(|p| p.scenarios.len() > 1) {
            assert!(plan.scenarios.iter().all(|s| !s.own_boot));
        }
    }
}
