//! Options about how scripts run, from what was written to what they run with.

use std::{ops::RangeInclusive, time::Duration};

use serde_spanned::Spanned;

use crate::{
    cgi::{self, Confinement, Programs},
    config::{
        accounts,
        compile::resolver::Resolver,
        findings::{Findings, Mistake},
        notation::{quoted, quoted_key},
        raw::{self, Quantity},
        running::Running,
        sources::{NOWHERE, Span},
        units::{COUNT, DURATION, Notation, SIZE},
    },
};

/// An interpreter hardly starts with less.
const MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 50;

const TASKS: RangeInclusive<usize> = 1..=1_000_000;

/// As `CPUWeight=` of systemd.
const CPU_WEIGHT: RangeInclusive<usize> = 1..=10_000;

const TIMEOUT: Duration = Duration::from_secs(60);

const MAX_TIME: Duration = Duration::from_secs(600);

/// Reads the options of a path key.
pub(super) fn read(raw: &raw::PathKey, resolver: &mut Resolver<'_>) -> Running {
    for (name, value) in &raw.env {
        check_variable(name, value, resolver.findings);
    }
    let env = raw.env.iter();
    let user = raw.user.as_ref().and_then(|name| {
        let account = accounts::account(name.get_ref());
        let account = resolver.findings.accept(&name.span(), account)?;
        Some(Spanned::new(name.span(), account))
    });
    let confined = confined(&raw.confined(), resolver);
    Running {
        detach: raw.detach.clone(),
        env: env
            .map(|(name, value)| (name.get_ref().clone(), value.clone()))
            .collect(),
        pass_authorization: raw.pass_authorization.clone(),
        setuid: raw.setuid.clone(),
        spool: raw.spool.clone(),
        user,
        ..confined
    }
}

/// Reads what `[cgi]` says for every script.
pub(super) fn read_defaults(raw: &raw::Cgi, resolver: &mut Resolver<'_>) -> Running {
    let defaults = confined(&raw.confined(), resolver);
    defaults.record_confined(&mut |key, value, span| {
        resolver.record_of(&format!("cgi.{key}"), &value, span);
    });
    defaults
}

/// Reads what both may say.
fn confined(raw: &raw::Confined<'_>, resolver: &mut Resolver<'_>) -> Running {
    Running {
        cpu_weight: within(raw.cpu_weight.as_ref(), &COUNT, CPU_WEIGHT, resolver),
        max_time: resolver.read(raw.max_time.as_ref(), &DURATION),
        memory: within(raw.memory.as_ref(), &SIZE, MEMORY, resolver),
        tasks: within(raw.tasks.as_ref(), &COUNT, TASKS, resolver),
        timeout: resolver.read(raw.timeout.as_ref(), &DURATION),
        ..Running::default()
    }
}

fn within<T: PartialOrd>(
    written: Option<&Spanned<Quantity>>,
    notation: &Notation<Quantity, T>,
    bounds: RangeInclusive<T>,
    resolver: &mut Resolver<'_>,
) -> Option<Spanned<T>> {
    let value = resolver.read(written, notation)?;
    if !bounds.contains(value.get_ref()) {
        let [least, most] = [bounds.start(), bounds.end()].map(notation.write);
        let message = format!("the value must be from {least} to {most}");
        resolver
            .findings
            .error(&value.span(), Mistake::new(message));
        return None;
    }
    Some(value)
}

fn check_variable(name: &Spanned<String>, value: &Spanned<String>, findings: &mut Findings) {
    let text = name.get_ref();
    if text.is_empty() || text.contains(['=', '\0']) {
        let mistake = Mistake::new(format!("{text:?} is not the name of a variable"));
        findings.error(&name.span(), mistake);
    }
    if value.get_ref().contains('\0') {
        let mistake = Mistake::new(format!("the value of `{text}` has a NUL in it"));
        findings.error(&value.span(), mistake);
    }
}

impl Running {
    /// What the scripts of a path key run with.
    pub(super) fn options(&self, programs: Programs) -> cgi::Options {
        let variable = |(name, value): (&String, &Spanned<String>)| {
            (name.as_str().into(), value.get_ref().as_str().into())
        };
        // Interpreters such as php-cgi read nothing when they are not told how much.
        let is_spooled = matches!(programs, Programs::Interpreted { .. });
        cgi::Options {
            programs,
            env: self.env.iter().map(variable).collect(),
            timeout: value_or(self.timeout.as_ref(), TIMEOUT),
            max_time: value_or(self.max_time.as_ref(), MAX_TIME),
            pass_authorization: value_or(self.pass_authorization.as_ref(), false),
            spool: value_or(self.spool.as_ref(), is_spooled),
            confinement: self.confinement(),
        }
    }

    fn confinement(&self) -> Confinement {
        let usual = Confinement::default();
        let tasks = self.tasks.as_ref().map(Spanned::get_ref);
        let cpu_weight = self.cpu_weight.as_ref().map(Spanned::get_ref);
        Confinement {
            memory: value_or(self.memory.as_ref(), usual.memory),
            // Both are within their bounds.
            tasks: tasks.map_or(usual.tasks, |&n| u32::try_from(n).unwrap_or(u32::MAX)),
            cpu_weight: cpu_weight.map_or(usual.cpu_weight, |&n| {
                u16::try_from(n).unwrap_or(usual.cpu_weight)
            }),
            detach: value_or(self.detach.as_ref(), usual.detach),
            setuid: value_or(self.setuid.as_ref(), usual.setuid),
            account: self.user.as_ref().map(|user| user.get_ref().clone()),
        }
    }

    /// Tells what holds, for `pywebd show`.
    pub(super) fn record(
        &self,
        options: &cgi::Options,
        record: &mut impl FnMut(&str, String, &Span),
    ) {
        for (name, value) in &self.env {
            let key = format!("env.{}", quoted_key(name));
            record(&key, quoted(value.get_ref()), &value.span());
        }
        self.record_confined(record);
        let confinement = &options.confinement;
        for (key, written, value) in [
            ("detach", &self.detach, confinement.detach),
            (
                "pass-authorization",
                &self.pass_authorization,
                options.pass_authorization,
            ),
            ("setuid", &self.setuid, confinement.setuid),
            ("spool", &self.spool, options.spool),
        ] {
            record(key, value.to_string(), &span(written.as_ref()));
        }
        if let Some(user) = &self.user {
            record("user", quoted(&user.get_ref().name), &user.span());
        }
    }

    fn record_confined(&self, record: &mut impl FnMut(&str, String, &Span)) {
        let Confinement {
            memory,
            tasks,
            cpu_weight,
            ..
        } = self.confinement();
        for (key, time, usual) in [
            ("timeout", &self.timeout, TIMEOUT),
            ("max-time", &self.max_time, MAX_TIME),
        ] {
            let value = value_or(time.as_ref(), usual);
            record(key, (DURATION.write)(&value), &span(time.as_ref()));
        }
        record("memory", (SIZE.write)(&memory), &span(self.memory.as_ref()));
        record("tasks", tasks.to_string(), &span(self.tasks.as_ref()));
        let weight = span(self.cpu_weight.as_ref());
        record("cpu-weight", cpu_weight.to_string(), &weight);
    }
}

fn value_or<T: Clone>(written: Option<&Spanned<T>>, usual: T) -> T {
    written.map_or(usual, |value| value.get_ref().clone())
}

fn span<T>(written: Option<&Spanned<T>>) -> Span {
    written.map_or(NOWHERE, Spanned::span)
}
