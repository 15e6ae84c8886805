from celery.signals import task_failure, task_postrun, task_prerun, task_success

SEEN = []


@task_prerun.connect
def on_prerun(sender=None, task_id=None, task=None, args=None, kwargs=None, **rest):
    SEEN.append(("prerun", task.name))


@task_success.connect
def on_success(sender=None, result=None, **rest):
    SEEN.append(("success", sender.name, result))


@task_failure.connect
def on_failure(sender=None, task_id=None, exception=None, einfo=None, **rest):
    SEEN.append(("failure", sender.name, type(exception).__name__))


@task_postrun.connect
def on_postrun(sender=None, task_id=None, state=None, retval=None, **rest):
    SEEN.append(("postrun", sender.name, state))
